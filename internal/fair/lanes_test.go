package fair

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// did notes what is done.
type did struct {
	mu     sync.Mutex
	things []string
}

func (d *did) add(thing string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.things = append(d.things, thing)
}

// What of one user waits holds up nobody else's, and of the user no more is begun than
// may be at a time; in the end all is done.
func TestLanesHoldUpTheirOwnAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLanes[string](2)
		var begun, ended did
		locked := make(chan struct{})
		var all []<-chan struct{}
		for _, thing := range []string{"m1", "m2", "m3", "m4"} {
			all = append(all, l.Begin(mallory, thing, func() {
				begun.add(thing)
				<-locked
				ended.add(thing)
			}))
		}
		for _, thing := range []string{"a1", "a2", "a3"} {
			<-l.Begin(alice, thing, func() { ended.add(thing) })
		}
		synctest.Wait()
		if !slices.Equal(ended.things, []string{"a1", "a2", "a3"}) || len(begun.things) != 2 {
			t.Errorf("done are %q; of the one who waits %q are begun, want two", ended.things, begun.things)
		}
		close(locked)
		for _, done := range all {
			<-done
		}
		if len(ended.things) != 7 {
			t.Errorf("done are %q", ended.things)
		}
		synctest.Wait()
		if len(l.lanes) > 0 || len(l.jobs) > 0 {
			t.Errorf("kept are %d lanes and %d things", len(l.lanes), len(l.jobs))
		}
	})
}

// What waits is done once, however many ask. What is being done is done once more for
// those who ask meanwhile, and so is what was done for those who ask later.
func TestLanesMissNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLanes[string](1)
		var ended did
		step := make(chan struct{})
		begin := func(thing string) <-chan struct{} {
			return l.Begin(alice, thing, func() { <-step; ended.add(thing) })
		}
		first, second := begin("first"), begin("second")
		synctest.Wait() // the first is being done
		for range 3 {
			for _, thing := range []string{"first", "second"} {
				if begin(thing) != nil {
					t.Errorf("%s has been begun, and is begun anew", thing)
				}
			}
		}
		for range 3 {
			step <- struct{}{}
		}
		<-first
		<-second
		if want := []string{"first", "second", "first"}; !slices.Equal(ended.things, want) {
			t.Errorf("done are %q, want %q", ended.things, want)
		}
		again := begin("first")
		step <- struct{}{}
		<-again
	})
}
