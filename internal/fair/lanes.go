package fair

import "sync"

// Lanes have things done in the background, each user's in a lane of its own: few at a
// time, and those that came first before the others. So whoever's wait for something, a
// lock that its user holds or a turn, hold up nobody else's. It may be used concurrently.
type Lanes[T comparable] struct {
	width int // of a lane: how many things of a user are done at a time

	mu    sync.Mutex
	lanes map[uint32]*lane[T] // of those of whom something is to be done
	jobs  map[T]*job[T]       // what is being done, or waits for it

	working sync.WaitGroup // lanes
}

type lane[T comparable] struct {
	running int
	waiting []*job[T]
}

type job[T comparable] struct {
	thing          T
	do             func()
	running, again bool
	done           chan struct{}
}

// NewLanes makes lanes, in each of which so many things are done at a time.
func NewLanes[T comparable](width int) *Lanes[T] {
	return &Lanes[T]{width: width, lanes: map[uint32]*lane[T]{}, jobs: map[T]*job[T]{}}
}

// Begin has a thing of a user's done, now or later, and returns what is closed once it is.
// It does not wait. It returns nil where that has been begun already: a thing that waits is
// done once for all who asked, and one that is being done, which may not have seen what
// this one is asked for, once more.
func (l *Lanes[T]) Begin(uid uint32, thing T, do func()) (done <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j := l.jobs[thing]; j != nil {
		j.again = j.running
		return nil
	}
	j := &job[T]{thing: thing, do: do, done: make(chan struct{})}
	l.jobs[thing] = j
	own := l.lanes[uid]
	if own == nil {
		own = &lane[T]{}
		l.lanes[uid] = own
	}
	own.waiting = append(own.waiting, j)
	if own.running < l.width {
		own.running++
		l.working.Go(func() { l.work(uid, own) })
	}
	return j.done
}

// Wait returns when all that was begun is done. Nothing may be begun meanwhile.
func (l *Lanes[T]) Wait() { l.working.Wait() }

// work does what waits in a lane until nothing does.
func (l *Lanes[T]) work(uid uint32, own *lane[T]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(own.waiting) > 0 {
		j := own.waiting[0]
		own.waiting = own.waiting[1:]
		j.running, j.again = true, false
		l.mu.Unlock()
		j.do()
		l.mu.Lock()
		if j.running = false; j.again {
			own.waiting = append(own.waiting, j)
			continue
		}
		delete(l.jobs, j.thing)
		close(j.done)
	}
	if own.running--; own.running == 0 {
		delete(l.lanes, uid)
	}
}
