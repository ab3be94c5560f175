package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

// The bars.
const (
	maxStart    = 2.0                   // times an empty client's
	maxOverhead = 8 * time.Millisecond  // of an attach, beside cnitool's add
	maxBeyond   = 25 * time.Millisecond // of an attach by DHCP, beside the exchange with the server
	maxParallel = 0.5                   // of the time in sequence
	maxRSS      = 25.0                  // MiB
)

// How often things are measured: enough for a median that stays.
const (
	startRounds    = 200
	attachRounds   = 80
	dhcpRounds     = 60
	parallelRounds = 3
	parallel       = 8
)

// BenchmarkBars measures everything once and fails when a bar is missed.
func BenchmarkBars(b *testing.B) {
	l := newLab(b)
	for b.Loop() {
		var t table
		before := load(b)
		fresh := l.rss()
		l.measureStart(&t)
		l.measureAttach(&t)
		l.measureDHCP(&t)
		l.measureParallel(&t)
		l.measureEnforce(&t)
		t.barred("idle daemon, just started", fmt.Sprintf("%.1f MiB", fresh), fmt.Sprintf("<= %.0f MiB RSS", maxRSS), fresh <= maxRSS)
		used := l.rss()
		t.barred("idle daemon, after all of the above", fmt.Sprintf("%.1f MiB", used), fmt.Sprintf("<= %.0f MiB RSS", maxRSS), used <= maxRSS)
		t.print(os.Stdout)
		fmt.Printf("%d CPUs, load average %s before and %s after: on a busy machine differences grow.\n\n", runtime.NumCPU(), before, load(b))
		if t.missed > 0 {
			b.Errorf("%d bars are missed", t.missed)
		}
	}
}

// load is the number of processes that ran or waited to, over the last minute
// (proc_loadavg(5)).
func load(b *testing.B) string {
	b.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		b.Fatal(err)
	}
	average, _, _ := strings.Cut(string(text), " ")
	return average
}

func (l *lab) progress(text string) { fmt.Fprintln(os.Stderr, "bench:", text) }

func (l *lab) measureStart(t *table) {
	l.progress("start of the plugin")
	m := medians(l.b, startRounds,
		func() { l.command(exec.Command(l.empty)) },
		func() { l.command(exec.Command(l.plugin, "info")) })
	ratio := float64(m[1]) / float64(m[0])
	t.fact("start, an empty Go HTTP client", milliseconds(m[0]))
	t.barred("start, plugin info", fmt.Sprintf("%s (x %.2f)", milliseconds(m[1]), ratio), fmt.Sprintf("<= x %.0f", maxStart), ratio <= maxStart)
}

func (l *lab) measureAttach(t *table) {
	l.progress("attach and detach of macvlan with static, beside cnitool")
	c := l.container(0, resource)
	m := medians(l.b, attachRounds,
		func() { c.cnitool("add", resource) }, func() { c.cnitool("del", resource) },
		c.attach, c.detach,
		c.setup, c.teardown)
	t.fact("attach, cnitool add", milliseconds(m[0]))
	bar := "<= +" + milliseconds(maxOverhead)
	t.barred("attach, HTTP to the daemon", milliseconds(m[2])+" ("+more(m[2], m[0])+")", bar, m[2]-m[0] <= maxOverhead)
	t.barred("attach, whole path (the plugin's process)", milliseconds(m[4])+" ("+more(m[4], m[0])+")", bar, m[4]-m[0] <= maxOverhead)
	t.fact("detach, cnitool del", milliseconds(m[1]))
	t.fact("detach, HTTP to the daemon", milliseconds(m[3])+" ("+more(m[3], m[1])+")")
	t.fact("detach, whole path (the plugin's process)", milliseconds(m[5])+" ("+more(m[5], m[1])+")")
}

// measureParallel attaches containers on a resource with a plugin that sleeps.
func (l *lab) measureParallel(t *table) {
	l.progress("attaches in parallel")
	var all []*container
	for n := range parallel {
		all = append(all, l.container(n, sleepy))
	}
	detach := func() {
		for _, c := range all {
			c.teardown()
		}
	}
	var sequence, together []time.Duration
	for range parallelRounds {
		sequence = append(sequence, elapsed(func() {
			for _, c := range all {
				c.setup()
			}
		}))
		detach()
		together = append(together, elapsed(func() { l.must(atOnce(all)) }))
		detach()
	}
	s, p := median(sequence), median(together)
	ratio := float64(p) / float64(s)
	t.fact(fmt.Sprintf("%d attaches in sequence, 200 ms of sleep each", parallel), milliseconds(s))
	t.barred(fmt.Sprintf("%d attaches in parallel", parallel), fmt.Sprintf("%s (x %.2f)", milliseconds(p), ratio), fmt.Sprintf("< x %.1f", maxParallel), ratio < maxParallel)
}

// atOnce sets up all containers at the same time.
func atOnce(all []*container) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() { errs[i] = c.netavark("setup") })
	}
	wg.Wait()
	return errors.Join(errs...)
}
