package dhcp

import (
	"sync"
	"time"
)

// fakeClock stands still until it is advanced.
type fakeClock struct {
	mu     sync.Mutex
	at     time.Duration
	timers map[*fakeTimer]struct{}
}

type fakeTimer struct {
	at time.Duration
	c  chan time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{at: bootClock{}.now(), timers: map[*fakeTimer]struct{}{}}
}

func (c *fakeClock) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) timer(at time.Duration) (<-chan time.Time, func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{at, make(chan time.Time, 1)}
	if at <= c.at {
		t.c <- time.Time{}
	} else {
		c.timers[t] = struct{}{}
	}
	return t.c, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, pending := c.timers[t]
		delete(c.timers, t)
		return pending
	}
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at += d
	for t := range c.timers {
		if t.at <= c.at {
			t.c <- time.Time{}
			delete(c.timers, t)
		}
	}
}
