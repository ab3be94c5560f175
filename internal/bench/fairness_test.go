package bench

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// The bar of a user who is not alone.
const (
	maxCrowded = 1.5 // of an attach beside somebody who means harm, times that without

	stalledConnections = 500
	hangingAttaches    = 200
	fairRounds         = 8
	fairEach           = 15               // attaches in each half of a round
	fairPatience       = 30 * time.Second // until the crowd is there, and is gone
	hanging            = "bench-hanging"  // a resource whose attaches never end
	hangingPlugin      = `{"type":"sleeper","delay":"1000s"}`
)

// BenchmarkFairness measures an attach of one user while another one has 500 connections
// on which nothing goes on, and asks for 200 attaches that hang: with the limits that there
// are by default, and with such that let all of that in, so that only its place in the
// queue keeps the one from the other.
func BenchmarkFairness(b *testing.B) {
	testlab.RequireRoot(b)
	for b.Loop() {
		before := load(b)
		var t table
		newFairness(b, nil).compare(&t, "limits by default")
		newFairness(b, map[string]any{
			"connections_per_user": 1024, "requests_per_user": 512, "rate_per_user": 10_000,
		}).compare(&t, "limits that let all in")
		t.print(os.Stdout)
		fmt.Printf("%d CPUs, load average %s before and %s after.\n\n", runtime.NumCPU(), before, load(b))
		if t.missed > 0 {
			b.Errorf("%d bars are missed", t.missed)
		}
	}
}

// compare has the user attach alone and beside the other one in turn, so that whatever
// else the machine does meets both alike.
func (f *fairness) compare(t *table, limits string) {
	f.b.Helper()
	var quiet, crowded []time.Duration
	var most string
	for round := range fairRounds {
		fmt.Fprintf(os.Stderr, "bench: fairness, %s, round %d of %d\n", limits, round+1, fairRounds)
		quiet = append(quiet, f.measure()...)
		f.begin()
		crowded = append(crowded, f.measure()...)
		most = fmt.Sprintf("%.0f chains of plugins hung, %.0f waited", f.daemon.Metric("net_porter_turns_running"), f.daemon.Metric("net_porter_turns_waiting"))
		f.end()
	}
	q, c := median(quiet), median(crowded)
	t.fact("attach of a user who is alone, "+limits, milliseconds(q))
	t.barred(fmt.Sprintf("beside one with %d stalled connections and %d attaches that hang", stalledConnections, hangingAttaches),
		fmt.Sprintf("%s (x %.2f)", milliseconds(c), float64(c)/float64(q)), fmt.Sprintf("<= x %.1f", maxCrowded), float64(c) <= maxCrowded*float64(q))
	t.fact("of that one, at the end", most)
}

// fairness is a daemon, a user who wants an attach now and then, and one who means harm.
type fairness struct {
	b       *testing.B
	daemon  *testlab.Daemon
	probe   *testlab.Container
	hostile *testlab.Sandbox
	command string // of the hostile user
	pid     string // while it runs
}

// fairnesses counts those of this process; their users are not each other's.
var fairnesses uint32

func newFairness(b *testing.B, limits map[string]any) *fairness {
	b.Helper()
	uid, parent := 60300+2*fairnesses, fmt.Sprint("fair", fairnesses)
	fairnesses++
	testlab.NewLAN(b, testlab.WithoutServer(), testlab.WithParent(parent))
	chain := strings.Replace(chain, testlab.LANParent, parent, 1)
	programs := filepath.Join(testlab.PublicDir(b), "bin")
	if err := os.Mkdir(programs, 0o755); err != nil {
		b.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", programs+"/", "./crowder", "./sleeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	kind, harm := testlab.User{UID: uid, GID: uid}, testlab.User{UID: uid + 1, GID: uid + 1}
	f := &fairness{b: b, daemon: testlab.NewDaemon(b, testlab.WithProgram(built("net-porter")), testlab.WithPluginDirs(programs), testlab.WithResources(
		testlab.Resource{Name: resource, Plugins: chain, Users: []testlab.User{kind}},
		testlab.Resource{Name: hanging, Plugins: chain + "," + hangingPlugin, Users: []testlab.User{harm}},
	))}
	if limits != nil {
		f.daemon.Configure(func(config map[string]any) { config["limits"] = limits })
	}
	f.daemon.Start()
	f.probe = kind.Containers(b, 1)[0]
	f.hostile = harm.Sandbox(b)
	dir := harm.Dir(b)
	f.command = fmt.Sprintf("%s/crowder %s %s %d", programs, f.daemon.Socket, hanging, stalledConnections)
	for i := range hangingAttaches {
		path := fmt.Sprintf("%s/ns-%d", dir, i)
		f.hostile.PersistNetns(path)
		f.command += " " + path
	}
	return f
}

// begin sets the hostile user going, and returns when it has all that it can get.
func (f *fairness) begin() {
	f.b.Helper()
	f.pid = strings.TrimSpace(f.hostile.Exec("sh", "-c", f.command+" >/dev/null 2>&1 </dev/null & echo $!"))
	f.until("the crowd is there", func() bool {
		return f.daemon.Metric("net_porter_turns_running") >= 8
	})
}

// end ends it, and returns when all that it had begun is undone.
func (f *fairness) end() {
	f.b.Helper()
	f.hostile.Exec("kill", "-9", f.pid)
	f.until("the crowd is gone", func() bool {
		return f.daemon.Metric("net_porter_turns_running") == 0 &&
			f.daemon.Metric(fmt.Sprintf("net_porter_attachments{resource=%q}", hanging)) == 0
	})
}

func (f *fairness) until(what string, is func() bool) {
	f.b.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(fairPatience); !is(); <-again.C {
		if time.Now().After(end) {
			f.b.Fatalf("not within %s: %s", fairPatience, what)
		}
	}
}

// measure attaches and detaches, and gives the times of the attaches.
func (f *fairness) measure() (took []time.Duration) {
	f.b.Helper()
	for range fairEach {
		took = append(took, elapsed(func() {
			if status, answer := f.daemon.Attach(f.probe.Sandbox, resource, f.probe.AttachBody()); status != http.StatusOK {
				f.b.Fatalf("attach: %d %s", status, answer)
			}
		}))
		if status, answer := f.daemon.Detach(f.probe.Sandbox, resource, f.probe.DetachBody()); status != http.StatusNoContent {
			f.b.Fatalf("detach: %d %s", status, answer)
		}
	}
	return took
}
