package plugin

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// systemd holds the socket of a daemon that does not start, and lets everybody wait.
func TestARequestThatNobodyTakesEnds(t *testing.T) {
	path := filepath.Join(shortDir(t), "d.sock")
	listen(t, path) // and accept nobody
	impatient := func(h *handler) { h.patience, h.createPatience = 20*time.Millisecond, 10*time.Millisecond }
	want := func(patience string) string {
		return "nobody took the request at " + path + " within " + patience + " s: systemd holds the socket, but the daemon does not run; `systemctl status net-porter`"
	}

	code, stdout, _ := runPlugin(t, impatient, strings.ReplaceAll(exec1x, "SOCKET", path), "setup", netnsPath)
	if text := errorText(t, stdout); code != 1 || !strings.Contains(text, want("0.02")) {
		t.Errorf("setup: exit %d, %q", code, text)
	}
	code, stdout, stderr := runPlugin(t, impatient, strings.ReplaceAll(exec1x, "SOCKET", path), "teardown", netnsPath)
	if code != 0 || stdout != "" || !strings.Contains(stderr, want("0.02")) {
		t.Errorf("teardown: exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	create := podmanNetwork(t, map[string]any{"options": strs{"net_porter_resource": "macvlan-dhcp", "socket": path}})
	code, stdout, stderr = runPlugin(t, impatient, create, "create")
	if code != 0 || !strings.Contains(stdout, networkID) || !strings.Contains(stderr, "the network is created") || !strings.Contains(stderr, want("0.01")) {
		t.Errorf("create: exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// A daemon that is busy has taken the request, and is what create tells of.
func TestCreateDoesNotAskABusyDaemonForLong(t *testing.T) {
	create := podmanNetwork(t, map[string]any{"options": strs{"net_porter_resource": "macvlan-dhcp", "socket": "SOCKET"}})
	d := startDaemon(t, "", busy("7"))
	code, stdout, stderr := runPlugin(t, nil, document(d, create), "create")
	if code != 0 || !strings.Contains(stdout, networkID) || !strings.Contains(stderr, "too much at once") {
		t.Errorf("exit %d, stdout %s, stderr %s", code, stdout, stderr)
	}
	if n := len(d.requests); n != 2 { // after 0 and 7 s
		t.Errorf("%d requests", n)
	}
}
