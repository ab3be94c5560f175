package stress

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Tests that run in parallel spend most of their time waiting for T1.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	testlab.Main(m)
}

const (
	resource = "lan"
	ifname   = "eth0"
	// patience is how long anything may take that a test waits for.
	patience = 30 * time.Second
)

// labs counts those of all tests: tests that run in parallel have a LAN each, and their
// parents are in one namespace.
var labs atomic.Int32

// lab is a LAN, and a daemon whose resource is that LAN with DHCP.
type lab struct {
	*testlab.Daemon
	t   *testing.T
	lan *testlab.LAN
}

// newLab makes a LAN with options, and a daemon for some users that is not running.
func newLab(t *testing.T, users []testlab.User, options ...testlab.LANOption) *lab {
	t.Helper()
	testlab.RequireRoot(t)
	parent := fmt.Sprintf("lan%d", labs.Add(1))
	l := &lab{t: t, lan: testlab.NewLAN(t, append(options, testlab.WithParent(parent))...)}
	l.Daemon = testlab.NewDaemon(t, testlab.WithResources(testlab.Resource{
		Name: resource, Users: users,
		Plugins: fmt.Sprintf(`{"type":"macvlan","master":%q,"ipam":{"type":"dhcp"}}`, parent),
	}))
	return l
}

// answer is what the tests want to know of an attach's answer.
type answer struct {
	Interfaces []struct{ MAC string }
	IPs        []struct{ Address netip.Prefix }
	Lease      struct {
		State, Server string
		T1            time.Time
	}
}

// ip is the container's address; the zero Addr if it has none, as without a lease.
func (a answer) ip() netip.Addr {
	if len(a.IPs) == 0 {
		return netip.Addr{}
	}
	return a.IPs[0].Address.Addr()
}

func read(t *testing.T, r testlab.Response) answer {
	t.Helper()
	a, err := decode(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// decode reads an attach's answer, which has to be one interface with one address.
func decode(r testlab.Response) (a answer, err error) {
	if r.Status != http.StatusOK {
		return a, fmt.Errorf("attach: %d %s", r.Status, r.Body)
	}
	if err := json.Unmarshal(r.Body, &a); err != nil {
		return a, err
	}
	if len(a.Interfaces) != 1 || len(a.IPs) != 1 {
		return a, fmt.Errorf("the answer has not one interface and one address: %s", r.Body)
	}
	return a, nil
}

// attach attaches a container, which has to work.
func (l *lab) attach(c *testlab.Container) answer {
	l.t.Helper()
	status, body := l.Attach(c.Sandbox, resource, c.AttachBody())
	return read(l.t, testlab.Response{Status: status, Body: body})
}

// detach detaches a container, which has to work.
func (l *lab) detach(c *testlab.Container) {
	l.t.Helper()
	if status, body := l.Detach(c.Sandbox, resource, c.DetachBody()); status != http.StatusNoContent {
		l.t.Fatalf("detach: %d %s", status, body)
	}
}

// attachments is what the daemon tells root of all attachments, by container.
func (l *lab) attachments() map[string]answer {
	l.t.Helper()
	var list struct {
		Attachments []struct {
			ContainerID string `json:"container_id"`
			Result      answer
		}
	}
	if err := json.Unmarshal(l.Attachments(), &list); err != nil {
		l.t.Fatal(err)
	}
	all := map[string]answer{}
	for _, a := range list.Attachments {
		all[a.ContainerID] = a.Result
	}
	return all
}

// state is that of a container's lease; "" if it has none.
func (l *lab) state(c *testlab.Container) string {
	l.t.Helper()
	return l.attachments()[c.ID].Lease.State
}

// until asks until the answer is yes, of what tells nobody when it happens.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			l.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func (l *lab) untilState(c *testlab.Container, want string) {
	l.t.Helper()
	l.until("the lease is in state "+want, func() bool { return l.state(c) == want })
}

// acks is how often the LAN's server has confirmed an address so far.
func (l *lab) acks(addr netip.Addr) int { return told(l.lan.Log(), "DHCPACK", addr) }

// messages are the words that follow a message's name in a server's log, line by line.
func messages(log, message string) (all [][]string) {
	for line := range strings.Lines(log) {
		if _, about, ok := strings.Cut(line, message+" "); ok {
			all = append(all, strings.Fields(about))
		}
	}
	return all
}

// told is how many lines of a server's log are about a message and an address.
func told(log, message string, addr netip.Addr) int {
	n := 0
	for line := range strings.Lines(log) {
		fields := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n()", r) })
		if strings.Contains(line, message) && slices.Contains(fields, addr.String()) {
			n++
		}
	}
	return n
}

// files are the names of what is in a folder of the daemon's state, but for what it
// makes now and then to see whether it can.
func (l *lab) files(folder string) []string {
	l.t.Helper()
	entries, err := os.ReadDir(filepath.Join(l.StateDir, folder))
	if err != nil {
		l.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".check") {
			names = append(names, e.Name())
		}
	}
	return names
}

// leases are how many leases the daemon counts in all states together.
func (l *lab) leases() int {
	l.t.Helper()
	n := 0
	for line := range strings.Lines(l.Metrics()) { // all of one moment: a lease may be about to change
		if series, value, _ := strings.Cut(line, " "); strings.HasPrefix(series, "net_porter_dhcp_leases{") {
			of, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				l.t.Fatal(err)
			}
			n += of
		}
	}
	return n
}

// wantNothingLeft fails the test if the daemon has anything of any container.
func (l *lab) wantNothingLeft() {
	l.t.Helper()
	if all := l.attachments(); len(all) > 0 {
		l.t.Errorf("attachments are left: %v", all)
	}
	if n := l.leases(); n > 0 {
		l.t.Errorf("%d leases are left", n)
	}
	for _, folder := range []string{"attachments", "leases"} {
		if names := l.files(folder); len(names) > 0 {
			l.t.Errorf("in the folder %s is left: %q", folder, names)
		}
	}
}
