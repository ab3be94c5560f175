package fair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

var (
	// ErrBusy says that no turn came within the time that there was to wait.
	ErrBusy = errors.New("others have all turns")
	// ErrClosed says that nothing is made any more, since the daemon stops. Nothing has
	// been begun.
	ErrClosed = errors.New("nothing is begun any more")
)

// Kind is what a turn is for.
type Kind int

const (
	// Make is for what adds something. It waits no longer than Options.Patience, and not at all
	// once the queue is closed.
	Make Kind = iota
	// Remove is for what takes something away. It waits as long as its context lasts.
	Remove

	kinds
)

// DefaultPatience is how long a turn to make something is waited for. Longer than almost any
// chain of plugins runs, so that of a crowd everybody gets a turn; short enough for a
// person to be told what is going on.
const DefaultPatience = 30 * time.Second

// Limits are how many turns there are at a time. They are at least 1.
type Limits struct {
	InAll   int
	PerUser int
}

// Options are what a Queue works with.
type Options struct {
	Limits Limits
	// Patience is how long Make waits; 0: DefaultPatience.
	Patience time.Duration
	// Waited, if not nil, is told of how long each turn was waited for, also of those
	// that never came. It is called concurrently.
	Waited func(time.Duration)
}

// Queue gives turns. It may be used concurrently. A nil Queue gives everybody a turn at
// once.
type Queue struct {
	waited   func(time.Duration)
	patience time.Duration

	mu      sync.Mutex
	limits  Limits
	closed  bool
	users   map[uint32]*user // those who have a turn or wait for one
	running int
	waiting int
	arrived uint64 // how many have ever come to wait
}

// New makes a Queue.
func New(o Options) *Queue {
	q := &Queue{waited: o.Waited, patience: o.Patience, limits: o.Limits, users: map[uint32]*user{}}
	if q.patience == 0 {
		q.patience = DefaultPatience
	}
	if q.waited == nil {
		q.waited = func(time.Duration) {}
	}
	return q
}

// held is the key under which a context carries the turn of a Queue's.
type held struct{ queue *Queue }

// Enter waits for a turn of the user's and returns what ends it, and a context that
// carries it: work on that context, and on what is derived from it, takes no second
// turn, but a part in this one, and has to be over when the turn ends.
//
// The error is ErrBusy if time was over, that of Options.Patience or the context's own;
// ErrClosed; or the context's where it was cancelled.
func (q *Queue) Enter(ctx context.Context, uid uint32, kind Kind) (turn context.Context, leave func(), err error) {
	if q == nil || ctx.Value(held{q}) != nil {
		return ctx, func() {}, nil
	}
	began := time.Now()
	err = q.wait(ctx, uid, kind)
	q.waited(time.Since(began))
	if err != nil {
		return nil, nil, err
	}
	return context.WithValue(ctx, held{q}, true), sync.OnceFunc(func() { q.leave(uid) }), nil
}

func (q *Queue) wait(ctx context.Context, uid uint32, kind Kind) error {
	if err := ctx.Err(); err != nil {
		return ended(ctx)
	}
	w, err := q.arrive(uid, kind)
	if err != nil {
		return err
	}
	var over <-chan time.Time
	if kind == Make {
		timer := time.NewTimer(q.patience)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-w.called:
		return w.err
	case <-over:
		err = ErrBusy
	case <-ctx.Done():
		err = ended(ctx)
	}
	if q.withdraw(uid, kind, w) {
		return err
	}
	// Called in the same moment.
	if w.err == nil {
		q.leave(uid)
	}
	return err
}

// ended is why a context's end is the end of the wait.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
	return context.Cause(ctx)
}

// arrive puts a waiter in line, who may be called at once.
func (q *Queue) arrive(uid uint32, kind Kind) (*waiter, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed && kind == Make {
		return nil, ErrClosed
	}
	u := q.users[uid]
	if u == nil {
		u = &user{}
		q.users[uid] = u
	}
	q.arrived++
	w := &waiter{arrival: q.arrived, called: make(chan struct{})}
	u.waiting[kind] = append(u.waiting[kind], w)
	q.waiting++
	q.call()
	return w, nil
}

// withdraw takes a waiter out of the line. It returns false for one who was called.
func (q *Queue) withdraw(uid uint32, kind Kind, w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.users[uid]
	if u == nil {
		return false
	}
	i := slices.Index(u.waiting[kind], w)
	if i < 0 {
		return false
	}
	u.waiting[kind] = slices.Delete(u.waiting[kind], i, i+1)
	q.waiting--
	q.forget(uid, u)
	return true
}

// leave ends a turn.
func (q *Queue) leave(uid uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.users[uid]
	u.running--
	q.running--
	q.forget(uid, u)
	q.call()
}

// forget drops a user who neither has a turn nor waits for one. mu is held.
func (q *Queue) forget(uid uint32, u *user) {
	if u.running == 0 && u.oldest() == nil {
		delete(q.users, uid)
	}
}

// call gives turns to those who wait while there are any. mu is held.
func (q *Queue) call() {
	for q.running < q.limits.InAll {
		u := q.next()
		if u == nil {
			return
		}
		w := u.take()
		u.running++
		q.running++
		q.waiting--
		close(w.called)
	}
}

// next is the user whose turn it is, or nil. mu is held.
func (q *Queue) next() *user {
	var best *user
	for _, u := range q.users {
		oldest := u.oldest()
		switch {
		case oldest == nil || u.running >= q.limits.PerUser:
		case best == nil, u.running < best.running,
			u.running == best.running && oldest.arrival < best.oldest().arrival:
			best = u
		}
	}
	return best
}

// SetLimits changes how many turns there are. Nobody loses one: where there are fewer
// than are taken, none is given before enough have ended.
func (q *Queue) SetLimits(l Limits) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = l
	q.call()
}

// Close ends the wait of all who want to make something, with ErrClosed. Who has a turn
// keeps it, and removals go on.
func (q *Queue) Close() {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for uid, u := range q.users {
		for _, w := range u.waiting[Make] {
			w.err = ErrClosed
			close(w.called)
		}
		q.waiting -= len(u.waiting[Make])
		u.waiting[Make] = nil
		q.forget(uid, u)
	}
}

// Counts returns how many turns are taken, and how many are waited for.
func (q *Queue) Counts() (running, waiting int) {
	if q == nil {
		return 0, 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running, q.waiting
}
