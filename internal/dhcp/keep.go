package dhcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// maxSteps bounds the exchanges that keep leases at any moment, and maxUserSteps those
	// for one user's, who may make each of theirs take its whole time. Those that wait for
	// their turn cost nothing. An attach does not wait for them.
	maxSteps     = 32
	maxUserSteps = 12
	// maxSleep is the longest that nobody looks at the clock: the timers of Go do not
	// count the time of a suspend, and leases do.
	maxSleep = 30 * time.Second
	never    = time.Duration(math.MaxInt64)
)

// Errors of [Places.Reopen]. Any other is tried again with growing pauses.
var (
	// ErrNoAttachment says that a lease is of an attachment that is none.
	ErrNoAttachment = errors.New("there is no such attachment")
	// ErrNotYet says that the attachment is still being made.
	ErrNotYet = errors.New("the attachment is not finished")
)

// notYetPause is until an attachment that was not finished is looked at again.
const notYetPause = time.Second

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
	// that it is the very same one and still has the interface.
	Reopen(ctx context.Context, id, ifname string) (Place, error)
}

// entry is a lease in memory. It is guarded by Service.mu, but for the lease while a
// step runs, which then is the step's to read.
type entry struct {
	lease Lease
	due   time.Duration // since boot
	fails int           // steps that came to nothing, one after the other
	// confirm: no daemon was there when the lease was to be prolonged, and its interface has
	// gone on using the address. Should its time be over before there was one try, the
	// server is asked before the address is taken away.
	confirm bool
	doubted bool // to be prolonged at once, unless the host has heard of it

	task   task                    // of the step that runs or was the last
	cancel context.CancelCauseFunc // of the step that runs, nil if none does
	ended  chan struct{}           // closed when that step is over
}

// Keep prolongs leases in time, and looks for new ones in place of those that have
// ended, until ctx ends. It returns when the last exchange has.
func (s *Service) Keep(ctx context.Context, places Places) error {
	for {
		timer, stop := s.clock.timer(s.beginSteps(ctx, places))
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

// beginSteps begins what is due and returns when to look again: when the next step is
// due, or in maxSleep.
func (s *Service) beginSteps(ctx context.Context, places Places) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	next := now + maxSleep
	if s.closed || ctx.Err() != nil {
		return next
	}
	var due []*entry
	for k, e := range s.entries {
		s.doubt(k, e, now)
		switch {
		case e.cancel != nil || s.expected[k.place()] != nil || e.due == never:
		case e.due > now:
			next = min(next, e.due)
		default:
			due = append(due, e)
		}
	}
	// Who waits longest is first; the end of any step wakes us for those that are left.
	slices.SortFunc(due, func(a, b *entry) int { return cmp.Compare(a.due, b.due) })
	for _, e := range due {
		most := e.stepsBeside(now)
		if s.running < most && s.runningOf[e.lease.user()] < most*maxUserSteps/maxSteps {
			s.begin(ctx, places, e)
		}
	}
	return next
}

// stepsBeside is how many steps may run, one of the entry's among them. What takes away
// an address whose time is over does not wait behind exchanges with servers that do not
// answer.
func (e *entry) stepsBeside(now time.Duration) int {
	if len(e.lease.Undone) > 0 || e.lease.taskAt(now, e.confirm) == expire {
		return 2 * maxSteps
	}
	return maxSteps
}

// begin starts an entry's step. mu is held.
func (s *Service) begin(ctx context.Context, places Places, e *entry) {
	stepCtx, cancel := context.WithCancelCause(ctx)
	e.cancel, e.ended = cancel, make(chan struct{})
	s.running++
	s.runningOf[e.lease.user()]++
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
	s.mu.Lock()
	if errors.Is(err, errInternal) {
		lease = e.lease // what the step had recorded before it panicked
	}
	now := s.clock.now()
	lease.Superseded = lease.Superseded || e.lease.Superseded
	e.lease = lease
	e.confirm = e.confirm && e.task == confirm && err != nil && !lease.Expired
	failed := false
	switch {
	case err == nil:
		e.fails, e.due = 0, s.dueAt(&lease, now)
	case errors.Is(err, context.Canceled), errors.Is(err, ErrCanceled):
		e.due = s.dueAt(&lease, now) // when whoever has cancelled it is done
	case errors.Is(err, ErrNotYet):
		e.due = now + notYetPause
	default:
		failed = true
		e.fails++
		e.due = lease.retryAt(now, e.fails)
		if lease.taskAt(now, e.confirm) != e.task {
			e.due = s.dueAt(&lease, now) // something else is due now: it is no retry, and must not be late
		}
	}
	fails, again := e.fails, e.due-now
	close(e.ended)
	e.cancel, e.ended = nil, nil
	s.running--
	if s.runningOf[lease.user()]--; s.runningOf[lease.user()] == 0 {
		delete(s.runningOf, lease.user())
	}
	s.mu.Unlock()
	s.awake()
	if failed && fails&(fails-1) == 0 { // the first, the second, the fourth: rarer and rarer
		s.logOf(&lease).Warn("a DHCP lease could not be prolonged yet; it is tried again", "address", lease.Address,
			"state", lease.stateAt(now), "expires_in", lease.left(now).Round(time.Second), "tries", fails, "error", err,
			"again_in", again.Round(time.Second))
	}
}

// dueAt is when a lease's next task is due. One of another boot has none: its namespace
// is gone, and its attachment will be.
func (s *Service) dueAt(l *Lease, now time.Duration) time.Duration {
	if l.BootID != s.bootID {
		return never
	}
	return l.dueAt(now)
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
		e.due = s.dueAt(&e.lease, now)
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
