package netns

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestGateLetsFewInAtATime(t *testing.T) {
	g := gate{make(chan struct{}, 2), 0}
	var inside, most atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			leave, err := g.enter(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer leave()
			n := inside.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			inside.Add(-1)
		})
	}
	all.Wait()
	if most.Load() > 2 || len(g.places) != 0 {
		t.Errorf("%d at a time, and %d places taken at the end", most.Load(), len(g.places))
	}
}

// Whoever hangs keeps nobody out, and gives back one place only.
func TestGateLosesPatience(t *testing.T) {
	g := gate{make(chan struct{}, 1), walkPatience}
	hangs, err := g.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, err := g.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hangs()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.enter(ended); !errors.Is(err, context.Canceled) && len(g.places) > 1 {
		t.Errorf("%v with %d places taken", err, len(g.places))
	}
	next()
}
