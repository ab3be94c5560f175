package testlab

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var carol = User{UID: 60300, GID: 60300}

// chain gives every container the same address, which does not matter to macvlans in
// namespaces of their own.
const chain = `{"type":"macvlan","master":"infra","ipam":{"type":"static","addresses":[{"address":"192.0.2.50/24"}]}}`

func newDaemon(t *testing.T) *Daemon {
	t.Helper()
	NewLAN(t, WithoutServer())
	d := NewDaemon(t, WithResources(Resource{Name: "lan", Plugins: chain, Users: []User{carol}}))
	d.Start()
	return d
}

// held are the ids of the containers that the daemon has attachments of, in order.
func held(t *testing.T, d *Daemon) []string {
	t.Helper()
	var list struct {
		Attachments []struct {
			ContainerID string `json:"container_id"`
		}
	}
	must(t, json.Unmarshal(d.Attachments(), &list))
	ids := []string{}
	for _, a := range list.Attachments {
		ids = append(ids, a.ContainerID)
	}
	slices.Sort(ids)
	return ids
}

func wantStatus(t *testing.T, all []Response, status int) {
	t.Helper()
	for _, r := range all {
		if r.Status != status {
			t.Fatalf("answered %d %s, want %d", r.Status, r.Body, status)
		}
	}
}

func TestDaemonKeepsItsStateOverRestarts(t *testing.T) {
	d := newDaemon(t)
	all := carol.Containers(t, containerSandboxes+3)
	var ids []string
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	wantStatus(t, d.AttachAll("lan", all), http.StatusOK)
	if out := all[0].Exec("ip", "-brief", "addr", "show", "eth0"); !strings.Contains(out, "192.0.2.50/24") {
		t.Errorf("the container has %s", out)
	}
	again := map[string]func(){"Restart": d.Restart, "Kill": func() { d.Kill(); d.Start() }}
	for name, restart := range again {
		before := d.PID()
		restart()
		if d.PID() == before {
			t.Errorf("%s: still process %d", name, before)
		}
		if got := held(t, d); !slices.Equal(got, ids) {
			t.Errorf("%s: attachments of %q, want %q", name, got, ids)
		}
	}
	if got := strings.Count(d.Log(), "net-porter is ready"); got != 3 {
		t.Errorf("it says %d times that it is ready:\n%s", got, d.Log())
	}
	wantStatus(t, d.DetachAll("lan", all[1:]), http.StatusNoContent)
	all[0].Remove()
	d.WaitLog(all[0].ID)
	if got := held(t, d); len(got) > 0 {
		t.Errorf("attachments of %q are left", got)
	}
}

func TestDaemonFacts(t *testing.T) {
	d := newDaemon(t)
	if link, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", d.PID())); err != nil || filepath.Base(link) != "net-porter" {
		t.Errorf("process %d is %s (%v)", d.PID(), link, err)
	}
	if rss := d.RSS(); rss < 1 || rss > 1000 {
		t.Errorf("RSS is %.1f MiB", rss)
	}
	if peak := d.PeakRSS(); peak < d.RSS()-1 || peak > 1000 {
		t.Errorf("the peak of RSS is %.1f MiB, and now it is %.1f", peak, d.RSS())
	}
	if n := d.Threads(); n < 2 || n > 1000 {
		t.Errorf("%d threads", n)
	}
	if open := d.FDs(); !slices.Contains(open, filepath.Join(d.StateDir, "lock")) {
		t.Errorf("the lock is not among the open files %q", open)
	}
	if !strings.Contains(d.Metrics(), "# TYPE go_goroutines gauge\n") || d.Metric("go_goroutines") < 1 || d.Metric("no_such_series") != 0 {
		t.Errorf("metrics:\n%s", d.Metrics())
	}
}

func TestAttachAndDetachOfOne(t *testing.T) {
	d := newDaemon(t)
	c := carol.Containers(t, 1)[0]
	if status, answer := d.Attach(c.Sandbox, "no-such", c.AttachBody()); status != http.StatusNotFound {
		t.Errorf("a resource that is not there: %d %s", status, answer)
	}
	eth7 := map[string]any{"interface_name": "eth7"}
	if status, answer := d.Attach(c.Sandbox, "lan", c.AttachBody(eth7)); status != http.StatusOK || !strings.Contains(string(answer), `"eth7"`) {
		t.Fatalf("attach: %d %s", status, answer)
	}
	if status, answer := d.Detach(c.Sandbox, "lan", c.DetachBody(eth7)); status != http.StatusNoContent {
		t.Errorf("detach: %d %s", status, answer)
	}
	d.Configure(func(config map[string]any) { config["resources"] = []any{} })
	d.Restart()
	if status, answer := d.Attach(c.Sandbox, "lan", c.AttachBody()); status != http.StatusNotFound {
		t.Errorf("a resource that was taken away: %d %s", status, answer)
	}
}

// A daemon that is killed during an attach is an error of the attach, and no more.
func TestTriesAtADaemonThatMayBeKilled(t *testing.T) {
	d := newDaemon(t)
	c := carol.Containers(t, 1)[0]
	r, err := d.TryAttach(c.Sandbox, "lan", c.AttachBody())
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s (%v)", r.Status, r.Body, err)
	}
	must(t, c.Open().Do(func() error { _, err := net.InterfaceByName("eth0"); return err }))
	if r, err := d.TryDetach(c.Sandbox, "lan", c.DetachBody()); err != nil || r.Status != http.StatusNoContent {
		t.Errorf("detach: %d %s (%v)", r.Status, r.Body, err)
	}
	d.Kill()
	if r, err := d.TryAttach(c.Sandbox, "lan", c.AttachBody()); err == nil {
		t.Errorf("a dead daemon answers %d %s", r.Status, r.Body)
	}
	d.Start()
}

// What an earlier start said is in the log, but is not what WaitLog waits for.
func TestWaitLogIsOfTheLastStart(t *testing.T) {
	d := newDaemon(t)
	d.WaitLog("resources=1")
	d.Configure(func(config map[string]any) { config["resources"] = []any{} })
	d.Restart()
	if d.log.wait(d.mark, ended(), contains("resources=1")) || !strings.Contains(d.Log(), "resources=1") {
		t.Errorf("what the first start said is taken for the second's:\n%s", d.Log())
	}
	d.WaitLog("resources=0")
}

// ended is a channel of something that is over, so that nothing is waited for.
func ended() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Tests fail with the daemon's own words when it does not start, or ends unasked.
func TestDaemonFailures(t *testing.T) {
	d := newDaemon(t)
	caught := &failures{TB: t}
	d.t = caught
	defer func() { d.t = t }()
	must(t, unix.Kill(d.PID(), unix.SIGKILL))
	<-d.child.ended
	caught.during(d.Stop)
	if !strings.Contains(caught.text, "ended by itself (signal: killed)") {
		t.Errorf("its end was told as %q", caught.text)
	}
	d.Configure(func(config map[string]any) { config["no_such_key"] = true })
	caught.during(d.Start)
	if !strings.Contains(caught.text, "ended before it was ready") || !strings.Contains(caught.text, "no_such_key") {
		t.Errorf("its refusal was told as %q", caught.text)
	}
	caught.during(func() { d.PID() })
	if !strings.Contains(caught.text, "not running") {
		t.Errorf("there is a process id: %q", caught.text)
	}
}

func TestBuiltOnceAndForRootAlone(t *testing.T) {
	RequireRoot(t)
	program := netPorter(t)
	if again := netPorter(t); again != program {
		t.Errorf("built twice, as %s and %s", program, again)
	}
	if info, err := os.Stat(filepath.Dir(program)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v (%v)", info.Mode(), err)
	}
}

func TestRaceOfADaemonIsTold(t *testing.T) {
	RequireRoot(t)
	caught := &failures{TB: t}
	d := &Daemon{t: caught, log: newLogBuffer()}
	caught.during(d.noRaces)
	if caught.text != "" {
		t.Errorf("without any: %q", caught.text)
	}
	_, err := d.log.Write([]byte("==================\nWARNING: DATA RACE\nWrite at 0x00c0000a6018 by goroutine 8:\n"))
	must(t, err)
	caught.during(d.noRaces)
	if !strings.Contains(caught.text, "by goroutine 8") {
		t.Errorf("a race was told as %q", caught.text)
	}
}
