package stress

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// failing is a resource with the chain, and one more plugin that fails.
const failing = "failing"

func newCrashed(t *testing.T, c chain, program testlab.DaemonOption) *crashed {
	t.Helper()
	l := &crashed{chain: c, pool: filepath.Join(testlab.PublicDir(t), "pool"), unrecorded: map[string]bool{}, lasts: map[string]int{}}
	l.lab = &lab{t: t, lan: testlab.NewLAN(t, testlab.WithParent(fmt.Sprintf("lan%d", labs.Add(1))))}
	plugins := fmt.Sprintf(c.plugins, l.lan.ParentName, l.pool)
	if !strings.Contains(c.plugins, "%[2]q") {
		plugins = fmt.Sprintf(c.plugins, l.lan.ParentName)
	}
	users := []testlab.User{dave}
	l.Daemon = testlab.NewDaemon(t, program, testlab.WithPluginDirs(brokenPlugin(t)), testlab.WithResources(
		testlab.Resource{Name: resource, Users: users, Plugins: plugins},
		testlab.Resource{Name: failing, Users: users, Plugins: plugins + `,{"type":"broken"}`},
	))
	l.c = dave.Containers(t, 1)[0]
	return l
}

// brokenPlugin is a folder with a plugin whose ADD fails.
func brokenPlugin(t *testing.T) string {
	t.Helper()
	dir := testlab.PublicDir(t)
	const script = "#!/bin/sh\n" + `[ "$CNI_COMMAND" != ADD ] || { echo '{"cniVersion":"1.0.0","code":100,"msg":"broken"}'; exit 1; }` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "broken"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// afresh makes another container, with a name, and so a MAC, of its own: the last one's
// is taken until the kernel has taken its namespace apart.
func (l *crashed) afresh() {
	l.t.Helper()
	l.letGo()
	if _, body := l.Detach(l.c.Sandbox, resource, l.c.DetachBody()); len(body) > 0 {
		l.t.Fatalf("detach: %s", body)
	}
	_, _ = l.c.Sandbox.Try("umount", l.c.Netns)
	l.c = l.c.Another()
}

// wipe makes an end of what a failure has left, so that the next point begins with nothing.
func (l *crashed) wipe() {
	l.t.Helper()
	l.KillWhole()
	for _, dir := range []string{l.StateDir, l.pool} {
		if err := os.RemoveAll(dir); err != nil {
			l.t.Fatal(err)
		}
	}
	l.lan.StopServer()
	l.lan.Server().Forget()
	l.lan.StartServer()
	clear(l.unrecorded)
	_, _ = l.c.Sandbox.Try("umount", l.c.Netns)
	l.c = l.c.Another()
	l.Start()
}

// expect makes a request of the daemon, and wants it to be answered with a status.
func (l *crashed) expect(status int, request func() (testlab.Response, error)) error {
	r, err := request()
	if err == nil && r.Status != status {
		err = fmt.Errorf("the answer is %d %s, want %d", r.Status, strings.TrimSpace(string(r.Body)), status)
	}
	return err
}

func (l *crashed) attachIt() (testlab.Response, error) {
	return l.TryAttach(l.c.Sandbox, resource, l.c.AttachBody())
}

func (l *crashed) attachFailing() (testlab.Response, error) {
	return l.TryAttach(l.c.Sandbox, failing, l.c.AttachBody())
}

func (l *crashed) detachShown() (testlab.Response, error) {
	return l.TryDetach(l.c.Sandbox, resource, l.c.DetachBody())
}

// removeNamespace is what podman does with a container's that is over. What was held of
// the one before goes, too.
func (l *crashed) removeNamespace() {
	l.t.Helper()
	l.c.Remove()
	l.letGo()
}

func (l *crashed) letGo() {
	if l.past != nil {
		l.past.Close()
		l.past = nil
	}
}

// replaceNamespace gives the container another namespace.
func (l *crashed) replaceNamespace() {
	l.t.Helper()
	l.c.Remove()
	l.c.Sandbox.PersistNetns(l.c.Netns)
}

// emptied waits until the daemon has no attachment any more, or is dead.
func (l *crashed) emptied() error {
	var (
		err  error
		last []byte
	)
	if l.soon(func() bool {
		var r testlab.Response
		var list struct{ Attachments []json.RawMessage }
		if r, err = l.TryHTTP(testlab.Request{Method: http.MethodGet, Path: "/v1/attachments"}); err == nil {
			err, last = json.Unmarshal(r.Body, &list), r.Body
		}
		return err != nil || len(list.Attachments) == 0
	}) {
		return err
	}
	return fmt.Errorf("after %s there are still attachments: %s", patience, last)
}

// soon asks until the answer is yes.
func (l *crashed) soon(ok func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// serverLeases are the addresses that the LAN's server has granted.
func (l *crashed) serverLeases() map[string]bool {
	l.t.Helper()
	granted := map[string]bool{}
	for line := range strings.Lines(l.lan.Leases()) {
		if fields := strings.Fields(line); len(fields) > 2 {
			granted[fields[2]] = true
		}
	}
	return granted
}

// differences are what is not as it should be with the container attached, or not.
func (l *crashed) differences(attached bool) (problems []error) {
	l.t.Helper()
	wrong := func(what string, got, want any) {
		problems = append(problems, fmt.Errorf("%s: %v, want %v", what, got, want))
	}
	compare := func(what string, got, want []string) {
		if slices.Sort(got); !slices.Equal(got, want) {
			wrong(what, got, want)
		}
	}
	one := func(name string, when bool) []string {
		if attached && when {
			return []string{name}
		}
		return nil
	}
	id := l.id()
	all := l.attachments()
	var addr netip.Addr
	if compare("attachments", slices.Collect(maps.Keys(all)), one(l.c.ID, true)); len(problems) == 0 && attached {
		addr = all[l.c.ID].ip()
		if err := l.lan.TryPing(addr); err != nil {
			wrong("ping", err, "a reply")
		}
	}
	byDHCP := l.name == "dhcp"
	compare("journal", l.files("attachments"), one(id+".json", true))
	compare("leases", l.files("leases"), one(id+"@4.json", byDHCP))
	compare("CNI's cache", l.files("cni"), one(id, true))
	compare("host-local's files", l.pooled(), one(addr.String(), strings.Contains(l.plugins, "host-local")))
	if n := l.leases(); n != len(one("", byDHCP)) {
		wrong("leases in the metrics", n, len(one("", byDHCP)))
	}
	want := maps.Clone(l.unrecorded)
	if attached && byDHCP {
		want[addr.String()] = true
	}
	// A release is a message that nobody answers: the server has read it when it has.
	if !l.soon(func() bool { return maps.Equal(l.serverLeases(), want) }) {
		wrong("the server's leases", l.serverLeases(), want)
		problems = append(problems, l.storyOf(l.serverLeases(), want))
	}
	if links, err := l.c.Sandbox.Try("links", l.c.Netns); err == nil { // or the namespace is gone
		compare("links", strings.Fields(links), append(one(ifname, true), "lo"))
	}
	if l.past != nil {
		compare("links in the namespace before", l.linksIn(l.past), []string{"lo"})
	}
	return problems
}

// storyOf is what the server and the daemon that runs have said of addresses that are
// leased and should not be.
func (l *crashed) storyOf(leased, want map[string]bool) error {
	var story strings.Builder
	for addr := range leased {
		if want[addr] {
			continue
		}
		for _, log := range []string{l.lan.Log(), l.Log()} {
			for line := range strings.Lines(log) {
				if strings.Contains(line, addr+" ") || strings.Contains(line, addr+"/") {
					story.WriteString("\n" + strings.TrimSpace(line))
				}
			}
		}
	}
	for line := range strings.Lines(string(l.HTTP(testlab.Request{Method: http.MethodGet, Path: "/metrics"}).Body)) {
		if strings.Contains(line, `exchange_duration_seconds_count`) && strings.Contains(line, "release") {
			story.WriteString("\n" + strings.TrimSpace(line))
		}
	}
	return fmt.Errorf("this was said of it:%s", story.String())
}

// id is the attachment's.
func (l *crashed) id() string { return fmt.Sprintf("%d.%s@%s", dave.UID, l.c.ID, ifname) }

func (l *crashed) linksIn(ns *testlab.Netns) (names []string) {
	l.t.Helper()
	l.must(ns.Do(func() error {
		links, err := net.Interfaces()
		for _, link := range links {
			names = append(names, link.Name)
		}
		return err
	}))
	return names
}

// pooled are the addresses that host-local has files of.
func (l *crashed) pooled() (addrs []string) {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(l.pool, "*", "[0-9]*"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, file := range files {
		addrs = append(addrs, filepath.Base(file))
	}
	return addrs
}
