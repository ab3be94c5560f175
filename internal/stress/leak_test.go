package stress

import (
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

var manyPairs = length(1000, 5000)

// warmUp is by each container, before anything is counted: what a daemon needs at the
// most, such as threads, it keeps.
const warmUp = 20

// leakable are those things of the daemon's that must not grow with what it has done.
type leakable struct {
	goroutines, threads int
	descriptors         string // by kind
}

// Neither goroutines, threads nor descriptors are left of thousands of attachments.
func TestNothingIsLeftOfManyPairs(t *testing.T) {
	testlab.RequireRoot(t)
	l, all := newMill(t)
	if n := l.pairs(all, len(all)*warmUp); n > 0 {
		t.Fatalf("%d of the first pairs have failed", n)
	}
	before := l.settled()
	rss := l.RSS()
	began := time.Now()
	if n := l.pairs(all, manyPairs); n > 0 {
		t.Fatalf("%d of %d pairs have failed", n, manyPairs)
	}
	took := time.Since(began)
	// It may have had more of everything while it worked, and gives that back.
	var after leakable
	l.until(fmt.Sprintf("the daemon has no more than before, which was %+v", before), func() bool {
		after = l.leakables()
		return after.goroutines <= before.goroutines && after.descriptors == before.descriptors
	})
	t.Logf("FIGURES: %d pairs of attach and detach in %s, %.0f a second", manyPairs, took.Round(time.Second), float64(manyPairs)/took.Seconds())
	t.Logf("FIGURES: before: %+v, RSS %.1f MiB", before, rss)
	t.Logf("FIGURES: after: %+v, RSS %.1f MiB, at most %.1f", after, l.RSS(), l.PeakRSS())
	// Go keeps the threads that it has had, and may come to need more at any time, such as
	// one for each user whose record waits for the disk. A leak would be of thousands.
	if after.threads > before.threads+len(all) {
		t.Errorf("%d threads, and %d before", after.threads, before.threads)
	}
	l.wantWithin("while they were attached and detached", after.threads)
	l.wantNothingLeft()
}

// newMill is a lab with two resources, and containers on both of them.
func newMill(t *testing.T) (*lab, []*testlab.Container) {
	t.Helper()
	users := make([]testlab.User, 16) // so many that none is asked to be slower
	for i := range users {
		users[i] = testlab.User{UID: 60520 + uint32(i), GID: 60520 + uint32(i)}
	}
	l := &lab{t: t, lan: testlab.NewLAN(t, testlab.WithParent(fmt.Sprintf("lan%d", labs.Add(1))))}
	plugins := func(ipam string) string {
		return fmt.Sprintf(`{"type":"macvlan","master":%q,"ipam":%s}`, l.lan.ParentName, ipam)
	}
	l.Daemon = testlab.NewDaemon(t, testlab.WithResources(
		testlab.Resource{Name: "static", Users: users, Plugins: plugins(`{"type":"static","addresses":[{"address":"192.0.2.50/24"}]}`)},
		testlab.Resource{Name: "dhcp", Users: users, Plugins: plugins(`{"type":"dhcp"}`)},
	))
	l.Start()
	return l, crowd(t, users, len(users))
}

// pairs attaches and detaches until count pairs are made by all containers together, and
// returns how many went wrong. One in ten is by DHCP.
func (l *lab) pairs(all []*testlab.Container, count int) int {
	l.t.Helper()
	var made, failed atomic.Int64
	var working sync.WaitGroup
	for _, c := range all {
		working.Go(func() {
			for {
				n := made.Add(1)
				if n > int64(count) || failed.Load() > 10 {
					return
				}
				resource := "static"
				if n%10 == 0 {
					resource = "dhcp"
				}
				if err := l.pair(c, resource); err != nil {
					failed.Add(1)
					l.t.Errorf("pair %d on %s: %v", n, resource, err)
				}
			}
		})
	}
	working.Wait()
	return int(failed.Load())
}

func (l *lab) pair(c *testlab.Container, resource string) error {
	r, err := l.TryAttach(c.Sandbox, resource, c.AttachBody())
	if err != nil {
		return err
	}
	if _, err := decode(r); err != nil {
		return err
	}
	return expectStatus(http.StatusNoContent)(l.TryDetach(c.Sandbox, resource, c.DetachBody()))
}

// settled returns what the daemon has when it does not change any more.
func (l *lab) settled() (now leakable) {
	l.t.Helper()
	l.until("the daemon is at rest", func() bool {
		last := now
		now = l.leakables()
		return now == last
	})
	return now
}

var number = regexp.MustCompile(`[0-9]+`)

func (l *lab) leakables() leakable {
	l.t.Helper()
	kinds := map[string]int{}
	for _, open := range l.FDs() {
		kinds[number.ReplaceAllString(open, "")]++
	}
	return leakable{
		goroutines: int(l.Metric("go_goroutines")), threads: l.Threads(),
		descriptors: fmt.Sprint(kinds), // in order
	}
}
