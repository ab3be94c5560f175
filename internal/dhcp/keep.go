package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"
)

const (
	// maxSteps bounds the exchanges that keep leases at any moment; those that wait for
	// their turn cost nothing. An attach does not wait for them.
	maxSteps = 32
	// maxSleep is the longest that nobody looks at the clock: the timers of Go do not
	// count the time of a suspend, and leases do.
	maxSleep = 30 * time.Second
	never    = time.Duration(math.MaxInt64)
)

// ErrNoAttachment says that a lease is of an attachment that is none.
var ErrNoAttachment = errors.New("there is no such attachment")

// Place is where a lease's interface is.
type Place interface {
	Namespace
	// Index is the interface's index in the namespace.
	Index() int
	// Close lets go of the namespace.
	Close() error
}

// Places finds the interfaces of leases again; *attachment.Manager is one.
type Places interface {
	// Reopen opens the namespace in which an attachment was made, after it has made sure
	// that it is the very same one and still has the interface. It fails with
	// ErrNoAttachment when the attachment is not recorded any more.
	Reopen(ctx context.Context, id, ifname string) (Place, error)
}

// entry is a lease in memory. It is guarded by Service.mu, but for the lease while a
// step runs, which then is the step's to read.
type entry struct {
	lease Lease
	due   time.Duration // since boot
	fails int           // steps that came to nothing, one after the other
	// confirm: the lease ended while no daemon was there to prolong it, and its interface
	// has gone on using the address. The server is asked before it is taken away.
	confirm bool

	task   task                    // of the step that runs or was the last
	cancel context.CancelCauseFunc // of the step that runs, nil if none does
	ended  chan struct{}           // closed when that step is over
}

// Keep prolongs leases in time, and looks for new ones in place of those that have
// ended, until ctx ends. It returns when the last exchange has.
func (s *Service) Keep(ctx context.Context, places Places) error {
	for {
		sleep := s.beginSteps(ctx, places)
		timer, stop := s.clock.timer(min(sleep, maxSleep))
		select {
		case <-timer:
		case <-s.wake:
		case <-ctx.Done():
		}
		stop()
		if ctx.Err() != nil {
			s.steps.Wait()
			return nil
		}
	}
}

// beginSteps begins what is due and returns how long it is until the next step is.
func (s *Service) beginSteps(ctx context.Context, places Places) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, next := s.clock.now(), never
	if s.closed || ctx.Err() != nil {
		return next
	}
	for k, e := range s.entries {
		switch {
		case e.cancel != nil || s.expected[k.place()] != nil || e.due == never:
		case e.due > now:
			next = min(next, e.due-now)
		case s.running < stepsFor(e.lease.taskAt(now, e.confirm)): // the end of any of them wakes us
			s.begin(ctx, places, e)
		}
	}
	return next
}

// stepsFor is how many steps may run beside one of a task. What takes away an address
// whose time is over does not wait behind exchanges with servers that do not answer.
func stepsFor(t task) int {
	if t == expire || t == settle {
		return 2 * maxSteps
	}
	return maxSteps
}

// begin starts an entry's step. mu is held.
func (s *Service) begin(ctx context.Context, places Places, e *entry) {
	stepCtx, cancel := context.WithCancelCause(ctx)
	e.cancel, e.ended = cancel, make(chan struct{})
	s.running++
	lease, confirm := e.lease, e.confirm
	e.task = lease.taskAt(s.clock.now(), confirm)
	s.steps.Go(func() {
		var err error
		func() {
			defer s.noPanic(&err)
			lease, err = s.step(stepCtx, places, lease, confirm)
		}()
		s.end(e, lease, err)
		cancel(nil)
	})
}

// end takes what a step has made of a lease.
func (s *Service) end(e *entry, lease Lease, err error) {
	log := s.logOf(&lease)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	lease.Superseded = lease.Superseded || e.lease.Superseded
	e.lease = lease
	e.confirm = e.confirm && err != nil && !lease.Expired
	switch {
	case err == nil:
		e.fails, e.due = 0, lease.dueAt(now)
	case errors.Is(err, context.Canceled), errors.Is(err, ErrCanceled):
		e.due = lease.dueAt(now) // when whoever has cancelled it is done
	default:
		e.fails++
		e.due = lease.retryAt(now, e.fails)
		if lease.taskAt(now, e.confirm) != e.task {
			e.due = lease.dueAt(now) // something else is due now: it is no retry, and must not be late
		}
		level := slog.LevelDebug
		if e.fails&(e.fails-1) == 0 { // the first, the second, the fourth: rarer and rarer
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "a DHCP lease could not be kept; it is tried again", "address", lease.Address,
			"state", lease.stateAt(now), "tries", e.fails, "error", err, "again_in", (e.due - now).Round(time.Second))
	}
	close(e.ended)
	e.cancel, e.ended = nil, nil
	s.running--
	s.awake()
}

// awake makes Keep look at what is due.
func (s *Service) awake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// suspend ends the steps of an interface's leases; the interface is expected, so that
// none begins.
func (s *Service) suspend(p place) {
	var running []chan struct{}
	s.mu.Lock()
	for _, e := range s.of(p) {
		if e.cancel != nil {
			e.cancel(fmt.Errorf("%w: the interface is being attached or detached", ErrCanceled))
			running = append(running, e.ended)
		}
	}
	s.mu.Unlock()
	for _, ended := range running {
		<-ended
	}
}

// resume looks at an interface's leases again.
func (s *Service) resume(p place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	for _, e := range s.of(p) {
		e.due = e.lease.dueAt(now)
	}
	s.awake()
}

// of are the entries of an interface, IPv4 first. mu is held.
func (s *Service) of(p place) []*entry {
	var all []*entry
	for _, family := range []Family{IPv4, IPv6} {
		if e := s.entries[key{p.id, p.ifname, family}]; e != nil {
			all = append(all, e)
		}
	}
	return all
}
