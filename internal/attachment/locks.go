package attachment

import (
	"context"
	"sync"
)

// locks holds one lock per key, for as long as somebody holds or wants it. Those who
// hold one wait for nobody who holds another.
type locks[K comparable] struct {
	mu   sync.Mutex
	held map[K]*lock
}

type lock struct {
	token chan struct{} // holds one token while the lock is taken
	users int
}

// acquire takes the key's lock and returns what gives it back. It fails with the
// context's error alone.
func (l *locks[K]) acquire(ctx context.Context, k K) (release func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[K]*lock{}
	}
	entry := l.held[k]
	if entry == nil {
		entry = &lock{token: make(chan struct{}, 1)}
		l.held[k] = entry
	}
	entry.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if entry.users--; entry.users == 0 {
			delete(l.held, k)
		}
	}
	select {
	case entry.token <- struct{}{}:
		return func() { <-entry.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
