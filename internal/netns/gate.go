package netns

import (
	"context"
	"sync"
	"time"
)

const (
	// gateWidth is how many threads work in namespaces, or walk users' paths, at a time
	// as a rule. They work for some tenths of a millisecond, much of it in line for the
	// kernel's lock of all links, where more of them get no further.
	gateWidth = 12
	// gatePatience is after how long a thread that is still at work does not count any
	// more: one that hangs keeps nobody else out.
	gatePatience = 50 * time.Millisecond
)

// gate keeps a crowd from taking a thread each: a goroutine that waits here has none.
type gate chan struct{}

// threads is the process's one.
var threads = make(gate, gateWidth)

// enter waits for a place and returns what gives it back, or ctx's error.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release := sync.OnceFunc(func() { <-g })
	patience := time.AfterFunc(gatePatience, release)
	return func() { patience.Stop(); release() }, nil
}
