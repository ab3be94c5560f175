package server

import (
	"context"
	"sync"
)

// work counts what makes or removes attachments, which a daemon that stops finishes.
type work struct {
	mu       sync.Mutex
	running  int
	stopping bool
	idle     chan struct{} // closed once stopping and nothing runs
}

// begin counts one in and returns what counts it out, or false when the daemon stops.
func (w *work) begin() (done func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopping {
		return nil, false
	}
	w.running++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.running--; w.stopping && w.running == 0 {
			close(w.idle)
		}
	}, true
}

// finish lets nothing begin any more and waits for what has begun, no longer than ctx.
// It is to be called once.
func (w *work) finish(ctx context.Context) error {
	w.mu.Lock()
	w.stopping, w.idle = true, make(chan struct{})
	if w.running == 0 {
		close(w.idle)
	}
	w.mu.Unlock()
	select {
	case <-w.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
