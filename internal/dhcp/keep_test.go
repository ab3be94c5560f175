package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// slowPlaces are places of which none is reached: each look for one waits for a word.
type slowPlaces struct {
	asked  chan string // ids
	answer chan struct{}
}

func (p *slowPlaces) Reopen(ctx context.Context, id, _ string) (Place, error) {
	p.asked <- id
	select {
	case <-p.answer:
		return nil, errors.New("out of reach")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// wait returns the id of the next place that is looked for.
func (p *slowPlaces) wait(t *testing.T) string {
	t.Helper()
	select {
	case id := <-p.asked:
		return id
	case <-time.After(time.Minute):
		t.Fatal("nothing is done though it is due")
	}
	return ""
}

// keepSlowly keeps leases whose interfaces are out of reach, by a clock of the test's.
func keepSlowly(t *testing.T, leases ...Lease) (*harness, *fakeClock, *slowPlaces) {
	t.Helper()
	clock := newFakeClock()
	h := newHarness(t, func(o *Options) { o.clock = clock })
	for _, l := range leases {
		l.Interface, l.Family, l.DHCP4, l.BootID = testIfname, IPv4, &dhcp4.Params{ClientID: []byte(l.ID)}, "this boot"
		l.Acquired = clock.now()
		if err := h.remember(l); err != nil {
			t.Fatal(err)
		}
	}
	places := &slowPlaces{make(chan string, 2*len(leases)), make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Keep(ctx, places) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return h, clock, places
}

func leaseOf(id string, t1, t2, lifetime time.Duration) Lease {
	return Lease{ID: id, Grant: grant.Grant{
		Server: netip.MustParseAddr("192.0.2.1"), Address: netip.MustParsePrefix("192.0.2.100/24"),
		T1: t1, T2: t2, Lifetime: lifetime,
	}}
}

// A try that begins shortly before T2, or before the lease's end, and comes to nothing
// after it, is not followed by a pause: another is due by then, or the address's end.
func TestTheNextStateBeginsWhenATryHasOutlivedItsOwn(t *testing.T) {
	h, clock, places := keepSlowly(t, leaseOf(testID, 3*time.Minute, 5*time.Minute, 6*time.Minute))
	for _, step := range []struct {
		at   time.Duration
		want State
	}{{3 * time.Minute, Renewing}, {5 * time.Minute, Rebinding}, {6 * time.Minute, Selecting}} {
		clock.advance(h.held().Acquired + step.at - clock.now())
		if step.at > 3*time.Minute {
			places.answer <- struct{}{} // to the try of the state before
		}
		places.wait(t)
		if got := h.Status(testID, testIfname)[0].State; got != step.want {
			t.Fatalf("at %s something is done in state %s, want %s", step.at, got, step.want)
		}
	}
}

// All that may go on with servers at a time does, and none of them answers.
func TestEndOfALeaseDoesNotWaitForSilentServers(t *testing.T) {
	const ending = "1000.ending"
	leases := []Lease{leaseOf(ending, time.Hour, time.Hour, time.Hour)}
	for n := range maxSteps + 1 {
		leases = append(leases, leaseOf(fmt.Sprintf("%d.c", 2000+n), time.Minute, 2*time.Hour, 3*time.Hour))
	}
	h, clock, places := keepSlowly(t, leases...)
	clock.advance(time.Minute)
	for range maxSteps {
		places.wait(t)
	}
	clock.advance(time.Hour)
	// Its address is to be taken from the interface.
	if id := places.wait(t); id != ending {
		t.Errorf("%s is dealt with: more than %d exchanges at a time", id, maxSteps)
	}
	if got := h.Status(ending, testIfname)[0].State; got != Selecting {
		t.Errorf("the lease that is over is in state %s", got)
	}
}

// A user whose leases take all the time that they may have keeps no other's waiting.
func TestSlowUserKeepsNobodyElseWaiting(t *testing.T) {
	const other = "1001.web"
	var leases []Lease
	for n := range 4 * maxSteps {
		leases = append(leases, leaseOf(fmt.Sprintf("1000.%d", n), time.Minute, 2*time.Hour, 3*time.Hour))
	}
	_, clock, places := keepSlowly(t, append(leases, leaseOf(other, 2*time.Minute, 2*time.Hour, 3*time.Hour))...)
	clock.advance(time.Minute)
	for range maxUserSteps {
		places.wait(t)
	}
	clock.advance(time.Minute)
	if id := places.wait(t); id != other {
		t.Errorf("%s is dealt with: more than %d exchanges of one user at a time", id, maxUserSteps)
	}
}

// That a lease has gone to another attachment is not forgotten for a renewal's sake.
func TestSupersededLeaseStaysSuperseded(t *testing.T) {
	h := newHarness(t)
	var running sync.WaitGroup
	for n := range 100 {
		old := leaseOf(fmt.Sprintf("1000.old%d", n), time.Hour, time.Hour, time.Hour)
		old.Interface, old.Family, old.BootID = testIfname, IPv4, "this boot"
		old.DHCP4 = &dhcp4.Params{ClientID: []byte(old.ID)}
		if err := h.remember(old); err != nil {
			t.Fatal(err)
		}
		successor := old
		successor.ID = fmt.Sprintf("1000.new%d", n)
		running.Go(func() {
			if err := h.remember(old.with(old.Grant, h.clock.now())); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() { h.supersede(&successor) })
	}
	running.Wait()
	h.restart() // what counts is what is recorded
	for n := range 100 {
		for _, l := range h.Leases(fmt.Sprintf("1000.old%d", n), testIfname) {
			if !l.Superseded || l.stateAt(h.clock.now()) != Selecting || len(l.Undone) == 0 {
				t.Errorf("%s: superseded %v, undone %v", l.ID, l.Superseded, l.Undone)
			}
		}
	}
}
