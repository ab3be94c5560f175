package netns

import (
	"context"
	"sync"
	"time"
)

const (
	// gateWidth is how many threads of a kind are at work at a time.
	gateWidth = 8
	// walkPatience is after how long a thread that walks a path does not count any more: a
	// user's file system that hangs keeps no other's path waiting.
	walkPatience = 50 * time.Millisecond
)

// gate keeps a crowd from taking a thread each: a goroutine that waits here has none.
type gate struct {
	places   chan struct{}
	patience time.Duration // 0: without end
}

func newGate(patience time.Duration) gate { return gate{make(chan struct{}, gateWidth), patience} }

var (
	// inside is for threads in namespaces. What they do there takes tenths of a
	// millisecond, or waits for the kernel's lock of all links, where more of them would
	// only wait as well.
	inside = newGate(0)
	walks  = newGate(walkPatience)
)

// enter waits for a place and returns what gives it back, or ctx's error.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release := sync.OnceFunc(func() { <-g.places })
	if g.patience == 0 {
		return release, nil
	}
	over := time.AfterFunc(g.patience, release)
	return func() { over.Stop(); release() }, nil
}
