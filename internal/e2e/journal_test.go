package e2e

import (
	"os"
	"strings"
	"testing"
)

// With contrib/journald the records are in a journal of net-porter's own, which is kept on
// disk for a year, and not in the one of all services; and the daemon works as before.
func TestJournalOfItsOwn(t *testing.T) {
	requireLab(t)
	dropIn, settings := "/etc/systemd/system/net-porter.service.d/log-namespace.conf", "/etc/systemd/journald@net-porter.conf"
	t.Cleanup(func() {
		must(t, "root", "rm", "-r", dropIn, settings)
		must(t, "root", "systemctl", "daemon-reload")
		must(t, "root", "systemctl", "restart", "net-porter.service")
		must(t, "root", "systemctl", "stop", "systemd-journald@net-porter.socket", "systemd-journald@net-porter.service")
		must(t, "root", "sh", "-c", "rm -rf /var/log/journal/*.net-porter")
	})
	for _, path := range []string{dropIn, settings} {
		text, err := os.ReadFile("../../contrib/journald/" + path[strings.LastIndexByte(path, '/')+1:])
		if err != nil {
			t.Fatal(err)
		}
		put(t, path, string(text))
	}
	must(t, "root", "systemctl", "daemon-reload")
	if out := must(t, "root", "sh", "-c", "systemd-analyze verify net-porter.service 2>&1"); strings.Contains(out, "net-porter.service") {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	must(t, "root", "systemctl", "restart", "net-porter.service")
	c := start(t, "alice", "--network", dhcpNet)
	c.remove(t, first, c.works(t, dhcpNet, "eth0", first, dhcpRange))
	must(t, "root", "journalctl", "--namespace=net-porter", "--sync")
	const attach = "MESSAGE_ID=e17e8508edbb48cd913ac127588b16a9"
	if out := must(t, "root", "journalctl", "--namespace=net-porter", "-o", "json", attach); !strings.Contains(out, c.id) {
		t.Errorf("the attach is not on record there: %s", out)
	}
	if r := lab(t, "root", "journalctl", "-o", "json", attach); strings.Contains(r.stdout, c.id) {
		t.Error("the attach is in the journal of all services")
	}
	if files := must(t, "root", "sh", "-c", "ls /var/log/journal/*.net-porter/"); !strings.Contains(files, "system.journal") {
		t.Errorf("on disk there is %q", files)
	}
	// What journald makes of the file it says itself.
	if out := must(t, "root", "journalctl", "-o", "cat", "-u", "systemd-journald@net-porter.service"); strings.Contains(out, "Unknown") || strings.Contains(out, "Failed to parse") {
		t.Errorf("journald@net-porter.conf: %s", out)
	}
}
