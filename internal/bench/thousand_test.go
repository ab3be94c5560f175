package bench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// The bars of a daemon with many attachments.
const (
	maxGrowth = 1.2             // of an attach with a thousand live, times that with ten
	maxReady  = 2 * time.Second // from the start of the process to READY=1, with a thousand records
)

const (
	ten, thousand = 10, 1000
	// lansOfThousand is how many LANs a thousand containers are on: a /24 has 253 places.
	lansOfThousand = 4
	crowdRounds    = 120
	starts         = 5
	releasing      = 5 * time.Minute // for a thousand, before the benchmark fails
)

// BenchmarkThousand measures what a thousand live attachments cost, and fails when a bar
// is missed.
func BenchmarkThousand(b *testing.B) {
	testlab.RequireRoot(b)
	progress := func(text string) { fmt.Fprintln(os.Stderr, "bench:", text) }
	for b.Loop() {
		var t table
		before := load(b)
		few, many, dense := newCrowd(b, "few", 1), newCrowd(b, "many", lansOfThousand), newCrowd(b, "dense", 1)
		progress("a thousand attaches, on four LANs and on one")
		few.fill(ten)
		took := elapsed(func() { many.fill(thousand) })
		dense.fill(thousand)
		t.fact("1,000 attaches of 8 users", fmt.Sprintf("%.0f a second", thousand/took.Seconds()))
		progress("attach and detach with ten and with a thousand live attachments, in turn")
		measureGrowth(b, &t, few, many, dense)
		list := elapsed(func() { many.wantListed(thousand) })
		t.fact("list of 1,000, with a look at the interface of each", milliseconds(list))
		t.fact("daemon with 1,000 live, RSS", fmt.Sprintf("%.1f MiB", many.daemon.RSS()))
		progress("starts")
		measureStarts(&t, many)
		t.print(os.Stdout)
		fmt.Printf("%d CPUs, load average %s before and %s after: on a busy machine differences grow.\n\n", runtime.NumCPU(), before, load(b))
		if t.missed > 0 {
			b.Errorf("%d bars are missed", t.missed)
		}
	}
}

// measureGrowth has attaches with few and with many live ones in turn, so that whatever
// else the machine does, and the thousand namespaces that it has, meet both alike. On one
// LAN, the kernel gives each container what another one broadcasts, as each does when it
// is attached: there, the plugin alone tells how much of the growth is not net-porter's.
func measureGrowth(b *testing.B, t *table, few, many, dense *crowd) {
	b.Helper()
	m := medians(b, crowdRounds,
		few.attach, few.detach, many.attach, many.detach, dense.attach, dense.detach,
		func() { few.plugin("ADD") }, func() { few.plugin("DEL") },
		func() { many.plugin("ADD") }, func() { many.plugin("DEL") },
		func() { dense.plugin("ADD") }, func() { dense.plugin("DEL") })
	times := func(d, than time.Duration) string {
		return fmt.Sprintf("%s (x %.2f)", milliseconds(d), float64(d)/float64(than))
	}
	t.fact("attach, 10 live", milliseconds(m[0]))
	t.barred(fmt.Sprintf("attach, 1,000 live on %d LANs", lansOfThousand), times(m[2], m[0]),
		fmt.Sprintf("<= x %.1f", maxGrowth), float64(m[2]) <= maxGrowth*float64(m[0]))
	t.fact("attach, 1,000 live on one LAN", times(m[4], m[0]))
	t.fact("the plugin alone, there with 10, 1,000 on 4 and 1,000 on 1", milliseconds(m[6])+", "+times(m[8], m[6])+", "+times(m[10], m[6]))
	t.fact("detach, with 10, 1,000 on 4 and 1,000 on 1", milliseconds(m[1])+", "+times(m[3], m[1])+", "+times(m[5], m[1]))
}

// measureStarts starts a daemon that has a thousand records: whose namespaces are alive,
// and are gone.
func measureStarts(t *table, c *crowd) {
	c.b.Helper()
	var alive []time.Duration
	for range starts {
		c.daemon.Kill()
		alive = append(alive, elapsed(c.daemon.Start))
	}
	bar := "< " + maxReady.String()
	most := slices.Max(alive)
	t.barred(fmt.Sprintf("start to READY, 1,000 live, the slowest of %d", starts), milliseconds(most), bar, most < maxReady)
	c.daemon.Kill()
	for _, container := range c.live {
		container.Remove()
	}
	gone := elapsed(c.daemon.Start)
	t.barred("start to READY, 1,000 records of what is gone", milliseconds(gone), bar, gone < maxReady)
	t.fact("and until all of them are released", fmt.Sprintf("%.1f s", elapsed(c.awaitNone).Seconds()))
}

// crowd is a daemon with LANs of its own, and containers of eight users that are
// attached: one user may not have so much going on.
type crowd struct {
	b       *testing.B
	daemon  *testlab.Daemon
	parents []string
	users   []testlab.User
	live    []*testlab.Container
	probe   *testlab.Container // whose attaches are measured
	bare    *testlab.Netns     // for the plugin alone
}

// crowds counts those of this process; their users are not each other's.
var crowds uint32

func newCrowd(b *testing.B, name string, lans int) *crowd {
	b.Helper()
	c := &crowd{b: b, bare: testlab.NewNetns(b)}
	for n := range uint32(8) {
		uid := 60200 + 10*crowds + n
		c.users = append(c.users, testlab.User{UID: uid, GID: uid})
	}
	crowds++
	var resources []testlab.Resource
	for n := range lans {
		parent := fmt.Sprint(name, n)
		testlab.NewLAN(b, testlab.WithoutServer(), testlab.WithParent(parent))
		c.parents = append(c.parents, parent)
		resources = append(resources, testlab.Resource{Name: parent, Users: c.users, Plugins: strings.Replace(chain, "infra", parent, 1)})
	}
	c.daemon = testlab.NewDaemon(b, testlab.WithProgram(built("net-porter")), testlab.WithResources(resources...))
	c.daemon.Start()
	c.probe = c.users[0].Containers(b, 1)[0]
	return c
}

// fill attaches containers, as many on each LAN.
func (c *crowd) fill(count int) {
	c.b.Helper()
	for i, u := range c.users {
		c.live = append(c.live, u.Containers(c.b, count*(i+1)/len(c.users)-count*i/len(c.users))...)
	}
	for i, parent := range c.parents {
		var here []*testlab.Container
		for n, container := range c.live {
			if n%len(c.parents) == i {
				here = append(here, container)
			}
		}
		for _, r := range c.daemon.AttachAll(parent, here) {
			if r.Status != http.StatusOK {
				c.b.Fatalf("attach: %d %s", r.Status, r.Body)
			}
		}
	}
}

func (c *crowd) attach() {
	c.b.Helper()
	if status, answer := c.daemon.Attach(c.probe.Sandbox, c.parents[0], c.probe.AttachBody()); status != http.StatusOK {
		c.b.Fatalf("attach: %d %s", status, answer)
	}
}

func (c *crowd) detach() {
	c.b.Helper()
	if status, answer := c.daemon.Detach(c.probe.Sandbox, c.parents[0], c.probe.DetachBody()); status != http.StatusNoContent {
		c.b.Fatalf("detach: %d %s", status, answer)
	}
}

// plugin runs CNI's macvlan on the crowd's first LAN, with nothing around it.
func (c *crowd) plugin(command string) {
	c.b.Helper()
	cmd := exec.Command(built("cni/macvlan"))
	cmd.Env = []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=bare", "CNI_NETNS=" + c.bare.Path(), "CNI_IFNAME=eth0",
		"CNI_PATH=" + strings.Join(c.daemon.PluginDirs, ":"),
	}
	conf := strings.Replace(strings.Replace(chain, "infra", c.parents[0], 1), "{", `{"cniVersion":"1.0.0","name":"bare",`, 1)
	cmd.Stdin = strings.NewReader(conf)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.b.Fatalf("macvlan %s: %v: %s", command, err, out)
	}
}

// wantListed fails the benchmark unless the daemon lists so many attachments, and finds
// nothing wrong with any.
func (c *crowd) wantListed(count int) {
	c.b.Helper()
	var list struct{ Attachments []struct{ Faults []string } }
	if err := json.Unmarshal(c.daemon.Attachments(), &list); err != nil || len(list.Attachments) != count {
		c.b.Fatalf("%d attachments are listed, not %d (%v)", len(list.Attachments), count, err)
	}
	for _, a := range list.Attachments {
		if len(a.Faults) > 0 {
			c.b.Fatalf("an attachment is said to be at fault: %q", a.Faults)
		}
	}
}

// awaitNone returns when the daemon has released everything.
func (c *crowd) awaitNone() {
	c.b.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(releasing); ; <-tick.C {
		left := 0.0
		for _, parent := range c.parents {
			left += c.daemon.Metric(fmt.Sprintf("net_porter_attachments{resource=%q}", parent))
		}
		switch {
		case left == 0:
			return
		case time.Now().After(end):
			c.b.Fatalf("%.0f attachments are left after %s", left, releasing)
		}
	}
}
