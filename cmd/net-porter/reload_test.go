package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// anyPlugin is a plugin that makes what it is asked for.
const anyPlugin = `cat >/dev/null
	[ "$CNI_COMMAND" = ADD ] || exit 0
	nsenter --net="$CNI_NETNS" ip link add "$CNI_IFNAME" address 02:00:00:00:00:01 type bridge
	echo '{"cniVersion":"1.0.0","interfaces":[{"name":"'$CNI_IFNAME'","mac":"02:00:00:00:00:01","sandbox":"x"}],"ips":[{"address":"192.0.2.7/24","interface":0}]}'`

var user = testlab.User{UID: 1000, GID: 1000}

// container is a network namespace of the user's.
type container struct {
	*testlab.Sandbox
	id, netns string
}

func newContainer(t *testing.T) container {
	t.Helper()
	s := user.Sandbox(t)
	c := container{s, fmt.Sprint("c", s.PID()), user.Dir(t) + "/netns"}
	c.PersistNetns(c.netns)
	return c
}

func (c container) post(at place, path, ifname string) testlab.Response {
	return c.HTTP(at.socket, testlab.Request{
		Method: "POST", Path: "/v1/networks/" + path, Header: http.Header{"Content-Type": {"application/json"}},
		Body: fmt.Appendf(nil, `{"container_id":%q,"interface_name":%q,"netns":%q}`, c.id, ifname, c.netns),
	})
}

// wantFault fails the test unless one fault of a daemon that works is told to everybody,
// and the file that has it to root alone.
func (c container) wantFault(t *testing.T, at place, says, file string) {
	t.Helper()
	for who, asked := range map[string]testlab.Response{
		"root": at.get(t, "/healthz"), "a user": c.HTTP(at.socket, testlab.Request{Method: "GET", Path: "/healthz"}),
	} {
		var h api.Health
		if err := json.Unmarshal(asked.Body, &h); err != nil {
			t.Fatal(err)
		}
		if asked.Status != http.StatusOK || h.Status != api.Ok || len(h.Faults) != 1 || !strings.Contains(h.Faults[0], says) ||
			strings.Contains(h.Faults[0], file) != (who == "root") {
			t.Errorf("%s is told %d %s", who, asked.Status, asked.Body)
		}
	}
}

// started is a daemon that systemd has started, and that is ready.
func started(t *testing.T) (place, *systemd, *program) {
	t.Helper()
	at := newPlace(t, anyPlugin)
	init := newSystemd(t, at.dir)
	p := run(t, init.env(0), "server", "-c", at.config)
	init.wait("READY=1")
	return at, init, p
}

// A grant that is taken away is gone for what is new, at once; who has something keeps
// it and can give it back.
func TestReload(t *testing.T) {
	testlab.RequireRoot(t)
	at, init, p := started(t)
	c := newContainer(t)
	if r := c.post(at, "lan/attach", "eth0"); r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	started := at.metric(t, "net_porter_config_last_reload_success_timestamp_seconds")

	conflist := `{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"fake"}]}`
	if err := os.WriteFile(at.dir+"/other.json", []byte(conflist), 0o644); err != nil {
		t.Fatal(err)
	}
	at.rewrite(t, `{"name":"lan","allow_users":[1000]}`, `{"name":"lan"},{"name":"other","allow_users":[1000]}`)
	p.hangUp()
	reloading := init.next()
	_, usec, ok := strings.Cut(reloading, "RELOADING=1\nMONOTONIC_USEC=")
	if _, err := strconv.ParseUint(usec, 10, 64); !ok || err != nil {
		t.Errorf("systemd was told %q", reloading)
	}
	if ready, _ := init.wait("READY=1"); !strings.Contains(ready, "STATUS=1 attachments, 2 resources") {
		t.Errorf("systemd was told %q", ready)
	}
	if r := c.post(at, "lan/attach", "eth1"); r.Status != http.StatusNotFound {
		t.Errorf("attach to what is not allowed any more: %d %s", r.Status, r.Body)
	}
	if r := c.post(at, "other/attach", "eth1"); r.Status != http.StatusOK {
		t.Errorf("attach to what is new: %d %s", r.Status, r.Body)
	}
	if n := at.metric(t, `net_porter_attachments{resource="lan"}`); n != "1" {
		t.Errorf("%q attachments of the resource are left", n)
	}
	if r := c.post(at, "lan/detach", "eth0"); r.Status != http.StatusNoContent {
		t.Errorf("detach from what is not allowed any more: %d %s", r.Status, r.Body)
	}
	ok = at.metric(t, `net_porter_config_reloads_total{outcome="ok"}`) == "1" &&
		at.metric(t, `net_porter_config_last_reload_successful`) == "1" &&
		at.metric(t, "net_porter_config_last_reload_success_timestamp_seconds") > started
	if !ok {
		t.Errorf("metrics:\n%s", at.get(t, "/metrics").Body)
	}
}

// A file that is broken changes nothing, and everybody who looks can see that it is.
func TestReloadOfBrokenFile(t *testing.T) {
	testlab.RequireRoot(t)
	at, init, p := started(t)
	at.rewrite(t, `"allow_users":[1000]}]`, `"allow_user":[1001]}`, `"mode"`, `"made"`)
	p.hangUp()
	if ready, _ := init.wait("READY=1"); !strings.Contains(ready, "last reload of the configuration failed: nothing of it is in force") || !strings.Contains(ready, at.config) {
		t.Errorf("systemd was told %q", ready)
	}
	p.waitFor("stays in force")
	if line := lastLine(p.said.String()); !strings.Contains(line, "line=") || !strings.Contains(line, "column=") || !strings.Contains(line, at.config) {
		t.Errorf("logged was %s", line)
	}
	c := newContainer(t)
	if r := c.post(at, "lan/attach", "eth0"); r.Status != http.StatusOK {
		t.Errorf("attach: %d %s", r.Status, r.Body)
	}
	c.wantFault(t, at, "nothing of it is in force", at.config)
	if at.metric(t, `net_porter_config_reloads_total{outcome="failed"}`) != "1" || at.metric(t, `net_porter_config_last_reload_successful`) != "0" {
		t.Errorf("metrics:\n%s", at.get(t, "/metrics").Body)
	}

	at.rewrite(t, `"allow_user":[1001]}`, `"allow_user":[1001]}]`, `"made"`, `"mode"`)
	p.hangUp()
	if ready, _ := init.wait("READY=1"); strings.Contains(ready, "last reload") {
		t.Errorf("systemd was told %q", ready)
	}
	if r := c.post(at, "lan/attach", "eth1"); r.Status != http.StatusNotFound {
		t.Errorf("attach to what is not allowed any more: %d %s", r.Status, r.Body)
	}
	if health := at.get(t, "/healthz").Body; strings.Contains(string(health), "faults") {
		t.Errorf("healthy again, it says %s", health)
	}
}

// Who takes a right away while a conflist is broken is told that it is taken away, as it is.
func TestReloadOfBrokenConflist(t *testing.T) {
	testlab.RequireRoot(t)
	at, init, p := started(t)
	at.rewrite(t, `"allow_users":[1000]`, `"allow_users":[1001]`)
	if err := os.WriteFile(at.dir+"/lan.json", []byte(`{"cniVersion":`), 0o644); err != nil {
		t.Fatal(err)
	}
	p.hangUp()
	const partly = "last reload of the configuration is in force but for"
	if ready, _ := init.wait(at.dir + "/lan.json"); !strings.Contains(ready, "READY=1") || !strings.Contains(ready, partly) {
		t.Errorf("systemd was told %q", ready)
	}
	c := newContainer(t)
	if r := c.post(at, "lan/attach", "eth0"); r.Status != http.StatusNotFound {
		t.Errorf("attach to what is not allowed any more: %d %s", r.Status, r.Body)
	}
	c.wantFault(t, at, partly, "lan.json")
	p.waitFor("a resource's network configuration was not reloaded")
	if said := p.said.String(); strings.Contains(said, "the configuration was not reloaded") {
		t.Errorf("logged was %s", said)
	}

	// Of the next one nothing is in force, and that is what is told.
	at.rewrite(t, `"resources"`, `"no_such_key":1,"resources"`)
	p.hangUp()
	if ready, _ := init.wait(at.config + ":"); !strings.Contains(ready, "nothing of it is in force") || strings.Contains(ready, "lan.json") {
		t.Errorf("systemd was told %q", ready)
	}
}

// Each fault is logged with its place, also where several files have several.
func TestReloadOfBrokenFiles(t *testing.T) {
	testlab.RequireRoot(t)
	at, init, p := started(t)
	if err := os.Mkdir(at.dir+"/config.d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at.dir+"/config.d/more.json", []byte("{\n\"a\": 1,\n\"b\": 2}"), 0o644); err != nil {
		t.Fatal(err)
	}
	at.rewrite(t, `"mode"`, `"made"`, `"allow_users"`, `"allow"`)
	p.hangUp()
	init.wait("READY=1")
	p.waitFor(`unknown key \"b\"`)
	for _, place := range []string{"config.json line=1 ", "config.json line=3 ", "config.d/more.json line=2 ", "config.d/more.json line=3 "} {
		if !strings.Contains(p.said.String(), "file="+at.dir+"/"+place) {
			t.Errorf("%sis not logged: %s", place, p.said.String())
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// What only a start can change is named; the rest of the file is in force.
func TestReloadOfWhatNeedsAStart(t *testing.T) {
	testlab.RequireRoot(t)
	at, init, p := started(t)
	at.rewrite(t, "/state", "/elsewhere", `"0666"`, `"0660"`, `"resources"`, `"log":{"level":"debug","format":"json"},"resources"`)
	for range 2 { // as long as it is so
		p.hangUp()
		for _, key := range []string{"domain_socket.mode", "state_dir", "log.format"} {
			p.waitFor("key=" + key)
		}
		init.wait("READY=1")
	}
	for _, key := range []string{"domain_socket.path", "metrics.listen"} {
		if strings.Contains(p.said.String(), key) {
			t.Errorf("%s, which is as before, is named", key)
		}
	}
	if r := newContainer(t).post(at, "lan/detach", "eth0"); r.Status != http.StatusNoContent {
		t.Errorf("detach: %d %s", r.Status, r.Body)
	}
	p.waitFor("level=DEBUG")
}

// Under a storm of reloads every request is answered by one configuration as a whole.
// The plugins are in another folder in each, and there the other's is one that only
// removes.
func TestReloadUnderLoad(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, anyPlugin)
	whole, err := os.ReadFile(at.config)
	if err != nil {
		t.Fatal(err)
	}
	configs := make([]string, 2)
	for i, name := range []string{"a", "b"} {
		dir, other := at.dir+"/"+name, []string{"b", "a"}[i]
		for path, content := range map[string]string{
			dir + "/fake-" + name:           "#!/bin/sh\n" + anyPlugin,
			dir + "/fake-" + other:          "#!/bin/sh\n[ $CNI_COMMAND = DEL ]",
			at.dir + "/" + name + "-1.json": fmt.Sprintf(`{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"fake-%s"}]}`, name),
			at.dir + "/" + name + "-2.json": fmt.Sprintf(`{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"fake-%s"}]}`, name),
		} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		configs[i] = strings.NewReplacer(
			`"resources":`, `"limits":{"rate_per_user":10000},"resources":`,
			fmt.Sprintf(`"plugin_dirs":[%q]`, at.dir), fmt.Sprintf(`"plugin_dirs":[%q]`, dir),
			`{"name":"lan","allow_users":[1000]}`, fmt.Sprintf(`{"name":"%s-1","allow_users":[1000]},{"name":"%[1]s-2","allow_users":[1000]}`, name),
		).Replace(string(whole))
	}
	write := func(i int) {
		if err := os.WriteFile(at.config+".new", []byte(configs[i]), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(at.config+".new", at.config); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	init := newSystemd(t, at.dir)
	p := run(t, init.env(0), "server", "-c", at.config)
	init.wait("READY=1")

	p.drain()
	var running sync.WaitGroup
	over := make(chan struct{})
	var attached [2]atomic.Int64 // by configuration
	containers := []container{newContainer(t), newContainer(t)}
	lister := user.Run(t)
	for i, name := range []string{"a-1", "b-2"} {
		c := containers[i]
		running.Go(func() {
			for !isClosed(over) {
				switch r := c.post(at, name+"/attach", "eth0"); r.Status {
				case http.StatusOK:
					attached[i].Add(1)
					if r := c.post(at, name+"/detach", "eth0"); r.Status != http.StatusNoContent {
						t.Errorf("detach: %d %s", r.Status, r.Body)
						return
					}
				case http.StatusNotFound: // the other one is in force
				default:
					t.Errorf("attach: %d %s", r.Status, r.Body)
					return
				}
			}
		})
	}
	running.Go(func() {
		for !isClosed(over) {
			r := lister.HTTP(at.socket, testlab.Request{Method: "GET", Path: "/v1/networks"})
			var list api.NetworkList
			if err := json.Unmarshal(r.Body, &list); err != nil {
				t.Error(err)
				return
			}
			n := list.Networks
			if len(n) != 2 || n[0].Name[0] != n[1].Name[0] || !n[0].Ready || !n[1].Ready {
				t.Errorf("a mixture: %s", r.Body)
				return
			}
		}
	})
	for i := 0; !t.Failed() && (i < 60 || attached[0].Load() < 5 || attached[1].Load() < 5); i++ {
		write(i % 2)
		p.hangUp()
		init.wait("READY=1")
	}
	close(over)
	running.Wait()
	t.Logf("attached by the one configuration %d times, by the other %d", attached[0].Load(), attached[1].Load())
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Files that change are in force soon, without anybody's word, and broken ones are not.
func TestChangedFilesAreRead(t *testing.T) {
	testlab.RequireRoot(t)
	at, init, p := started(t)
	c := newContainer(t)
	p.waitFor("net-porter is ready")
	at.rewrite(t, `"allow_users":[1000]`, `"allow_users":[1001]`)
	init.wait("RELOADING=1")
	init.wait("READY=1")
	if r := c.post(at, "lan/attach", "eth0"); r.Status != http.StatusNotFound {
		t.Errorf("attach to what is not allowed any more: %d %s", r.Status, r.Body)
	}
	if err := os.MkdirAll(at.dir+"/made/config.d", 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(at.dir+"/made/config.d/grants.json", `{"grants":[{"resource":"lan","users":[1000],"max_attachments":1}]}`)
	if err := os.Rename(at.dir+"/made/config.d", at.dir+"/config.d"); err != nil {
		t.Fatal(err)
	}
	init.wait("READY=1")
	if r := c.post(at, "lan/attach", "eth0"); r.Status != http.StatusOK {
		t.Errorf("attach to what a drop-in grants: %d %s", r.Status, r.Body)
	}
	write(at.dir+"/lan.json", `{"cniVersion":`)
	if ready, _ := init.wait("READY=1"); !strings.Contains(ready, "lan.json") {
		t.Errorf("systemd was told %q", ready)
	}
	p.waitFor("a resource's network configuration was not reloaded")
	if line := lastLine(p.said.String()); !strings.Contains(line, "line=1 column=14") {
		t.Errorf("logged was %s", line)
	}
}

// 200 reloads, every other one broken, during 500 attaches of two users: whoever is
// allowed throughout is never refused, and who is denied never gets in, neither from the
// beginning nor from the moment at which a reload that says so is done.
func TestManyReloadsDuringManyAttaches(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, anyPlugin)
	whole, err := os.ReadFile(at.config)
	if err != nil {
		t.Fatal(err)
	}
	const reloads, attaches = 200, 500
	with := func(lan string) string {
		return strings.NewReplacer(`"resources":`, `"limits":{"rate_per_user":10000},"resources":`, `{"name":"lan","allow_users":[1000]}`, lan).Replace(string(whole))
	}
	both, one := with(`{"name":"lan","allow_users":[1000,1001]}`), with(`{"name":"lan","grants":[{"users":[1000],"max_attachments":9}]}`)
	configs := []string{both, strings.Replace(both, "1001]", "1001,1002", 1), one, strings.Replace(one, `"users"`, `"usres"`, 1)}
	put := func(text string) {
		if err := os.WriteFile(at.config+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(at.config+".new", at.config); err != nil {
			t.Fatal(err)
		}
	}
	put(both)
	init := newSystemd(t, at.dir)
	p := run(t, init.env(0), "server", "-c", at.config)
	init.wait("READY=1")
	p.drain()

	containerOf := func(uid uint32) container {
		u := testlab.User{UID: uid, GID: uid}
		s := u.Sandbox(t)
		c := container{s, fmt.Sprint("c", s.PID()), u.Dir(t) + "/netns"}
		c.PersistNetns(c.netns)
		return c
	}
	judge, never := containerOf(1001), containerOf(1002)
	var running sync.WaitGroup
	var attached, refused, denied atomic.Int64
	over := make(chan struct{})
	loop := func(c container, mayBeRefused bool) {
		for !isClosed(over) {
			switch r := c.post(at, "lan/attach", "eth0"); {
			case r.Status == http.StatusOK:
				attached.Add(1)
				if r := c.post(at, "lan/detach", "eth0"); r.Status != http.StatusNoContent {
					t.Errorf("detach: %d %s", r.Status, r.Body)
					return
				}
			case r.Status == http.StatusNotFound && mayBeRefused:
				refused.Add(1)
			default:
				t.Errorf("attach: %d %s", r.Status, r.Body)
				return
			}
		}
	}
	for range 2 {
		always, sometimes := containerOf(1000), containerOf(1001)
		running.Go(func() { loop(always, false) })
		running.Go(func() { loop(sometimes, true) })
	}
	tries := make(chan struct{}, 10) // some during each reload, as they are quick
	running.Go(func() {
		for range tries {
			if r := never.post(at, "lan/attach", "eth0"); r.Status != http.StatusNotFound {
				t.Errorf("a user whom nothing ever allowed: %d %s", r.Status, r.Body)
				return
			}
			denied.Add(1)
		}
	})
	i := 0
	for ; !t.Failed() && (i < reloads || attached.Load() < attaches); i++ {
		for range 3 {
			select {
			case tries <- struct{}{}:
			default:
			}
		}
		put(configs[i%len(configs)])
		since := monotonic(t)
		p.hangUp()
		init.waitReloaded(since)
		want := http.StatusOK
		if i%len(configs) >= 2 { // in force is the one that has taken it from this user, also while the file is broken
			want = http.StatusNotFound
		}
		if r := judge.post(at, "lan/attach", "eth0"); r.Status != want {
			t.Errorf("reload %d was done, and then an attach came to %d, want %d: %s", i, r.Status, want, r.Body)
		}
		judge.post(at, "lan/detach", "eth0")
	}
	close(over)
	close(tries)
	running.Wait()
	t.Logf("FIGURES: %d reloads, half of them broken; %d attaches of two users, %d refused to the one who lost the resource, %d to one who never had it",
		i, attached.Load(), refused.Load(), denied.Load())
}

func monotonic(t *testing.T) (usec uint64) {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(now.Nano() / 1000)
}

// waitReloaded returns when a reload is done that began after a moment, as systemd tells
// it from one before (sd_notify(3)): the changed file itself leads to one, too.
func (s *systemd) waitReloaded(since uint64) {
	s.t.Helper()
	for {
		_, text, isReload := strings.Cut(s.next(), "MONOTONIC_USEC=")
		if began, err := strconv.ParseUint(text, 10, 64); isReload && err == nil && began >= since {
			s.wait("READY=1")
			return
		}
	}
}

// A revocation that does not end holds up neither the next configuration nor systemctl
// reload; a daemon that stops finishes it.
func TestReloadDuringARevocation(t *testing.T) {
	testlab.RequireRoot(t)
	begun, gate := fifo(t), fifo(t)
	at := newPlace(t, `if [ "$CNI_COMMAND" = DEL ]; then echo in >`+begun.Name()+`; read go <`+gate.Name()+`; fi
		`+anyPlugin)
	init := newSystemd(t, at.dir)
	p := run(t, init.env(0), "server", "-c", at.config)
	init.wait("READY=1")
	c := newContainer(t)
	if r := c.post(at, "lan/attach", "eth0"); r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	reload := func(old, now string) {
		t.Helper()
		at.rewrite(t, old, now)
		since := monotonic(t)
		p.hangUp()
		init.waitReloaded(since)
	}
	reload(`{"name":"lan","allow_users":[1000]}`, `{"name":"lan","allow_users":[1001],"on_revoke":"detach"}`)
	if _, err := io.ReadFull(begun, make([]byte, len("in\n"))); err != nil {
		t.Fatal(err)
	}
	reload(`"allow_users":[1001]`, `"allow_users":[1000,1001]`)
	if r := c.post(at, "lan/detach", "eth1"); r.Status != http.StatusNoContent { // of nothing
		t.Errorf("detach: %d %s", r.Status, r.Body)
	}
	if r := user.Run(t).HTTP(at.socket, testlab.Request{Method: "GET", Path: "/v1/networks"}); !strings.Contains(string(r.Body), `"lan"`) {
		t.Errorf("what is given back is not in force: %s", r.Body)
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitRefused(t, at.socket)
	if _, err := gate.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	if code := p.end(); code != 0 || !strings.Contains(p.said.String(), "detached an attachment that was revoked") {
		t.Errorf("exit status %d\n%s", code, p.said.String())
	}
	if left, err := os.ReadDir(at.dir + "/state/attachments"); err != nil || len(left) > 0 {
		t.Errorf("left in the journal are %v (%v)", left, err)
	}
}
