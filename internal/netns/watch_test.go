package netns

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// patience is only to fail instead of hanging.
const patience = 30 * time.Second

// watcher is a running Watch that is ended after the test.
type watcher struct {
	told chan int32 // what dead was called with; lostEvent for lost
	stop func() error
}

const lostEvent = -1

func watch(t *testing.T, r *Registry) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	w := &watcher{told: make(chan int32, 1<<12)}
	go func() {
		ended <- r.Watch(ctx, func(id int32) { w.told <- id }, func() { w.told <- lostEvent })
	}()
	w.stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// next is what is told next.
func (w *watcher) next(t *testing.T) int32 {
	t.Helper()
	select {
	case id := <-w.told:
		return id
	case <-time.After(patience):
		t.Fatal("nothing was told")
		return 0
	}
}

// waitDead waits for a death, and lets those of other tests' namespaces pass.
func (w *watcher) waitDead(t *testing.T, id int32) {
	t.Helper()
	for w.next(t) != id {
	}
}

// TestDeath: the last of what keeps a namespace goes, and it is told.
func TestDeath(t *testing.T) {
	testlab.RequireRoot(t)
	for _, tt := range []struct {
		name string
		last func(s *testlab.Sandbox, path string, ns *Namespace)
	}{
		{"the user's processes", func(s *testlab.Sandbox, _ string, ns *Namespace) { ns.Close(); s.Exit() }},
		{"the user's mount", func(s *testlab.Sandbox, path string, ns *Namespace) { ns.Close(); s.Unmount(path) }},
		{"the daemon's descriptor", func(s *testlab.Sandbox, _ string, ns *Namespace) { s.Exit() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry(t)
			s, path := container(t, alice)
			ns := open(t, newOpener(t), caller(t, alice, s), path)
			id := assign(t, r, ns)
			w := watch(t, r)
			tt.last(s, path, ns)
			if tt.name == "the daemon's descriptor" {
				if !alive(t, r, id) {
					t.Error("dead while it is open")
				}
				ns.Close()
			}
			w.waitDead(t, id)
			if alive(t, r, id) {
				t.Error("listed after its death")
			}
		})
	}
}

// TestWatchStops: it ends with its context, and the next one goes on where it was.
func TestWatchStops(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	witness := watch(t, newRegistry(t))
	early := unshared(t)
	earlyID := assign(t, r, early)
	early.Close()
	witness.waitDead(t, earlyID)
	first := watch(t, r)
	first.waitDead(t, earlyID) // it was before Watch
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	between := unshared(t)
	betweenID := assign(t, r, between)
	between.Close()
	witness.waitDead(t, betweenID)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Watch(over, func(int32) {}, func() {}); err != nil {
		t.Errorf("with a context that is over: %v", err)
	}
	late := unshared(t)
	lateID := assign(t, r, late)
	second := watch(t, r)
	late.Close()
	second.waitDead(t, lateID)
	if err := second.stop(); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Watch(context.Background(), nil, nil); err == nil {
		t.Error("Watch of a closed Registry returned nil")
	}
}

// TestCloseEndsWatch: with an error, as nobody has asked Watch to end.
func TestCloseEndsWatch(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	ended := make(chan error)
	go func() { ended <- r.Watch(context.Background(), func(int32) {}, func() {}) }()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(patience):
		t.Fatal("Watch goes on")
	}
}

// TestLost: where the kernel cannot keep all that happens, it is said, after what it
// has kept, and what happens after that is told again.
func TestLost(t *testing.T) {
	testlab.RequireRoot(t)
	other := newRegistry(t)
	ns := unshared(t)
	kept := assign(t, other, ns)

	r := newRegistry(t) // after that, so that the death is its first message
	smallBuffer(t, r)
	ns.Close()
	onEvents(t, r, waitReadable)
	var all []int32
	for range 64 { // each is a message, too
		ns := unshared(t)
		all = append(all, assign(t, r, ns))
		defer ns.Close()
	}

	w := watch(t, r)
	if first := w.next(t); first != kept {
		t.Errorf("%d is told before the death of %d", first, kept)
	}
	for w.next(t) != lostEvent {
	}
	for _, id := range all {
		if !alive(t, r, id) {
			t.Errorf("%d is not listed", id)
		}
	}
	ns = unshared(t)
	id := assign(t, r, ns)
	ns.Close()
	w.waitDead(t, id)
}

// TestEveryDeathIsLearnt: with a sweep at each lost(), nobody's death is missed, also
// when they die while what the kernel has kept is being read.
func TestEveryDeathIsLearnt(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	smallBuffer(t, r)
	var (
		mu      sync.Mutex
		waiting = map[int32]*Namespace{}
		sweeps  int
		all     = make(chan struct{})
	)
	const count = 200
	for range count {
		ns := unshared(t)
		waiting[assign(t, r, ns)] = ns
	}
	ids := slices.Collect(maps.Keys(waiting))
	gone := func(id int32) { // mu is held
		if _, ok := waiting[id]; ok {
			delete(waiting, id)
			if len(waiting) == 0 {
				close(all)
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- r.Watch(ctx, func(id int32) {
			_, _ = r.Alive(ids) // slow, as a caller may be
			mu.Lock()
			defer mu.Unlock()
			gone(id)
		}, func() {
			left, err := r.Alive(ids)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			sweeps++
			for id := range waiting {
				if _, ok := left[id]; !ok {
					gone(id)
				}
			}
		})
	}()
	mu.Lock()
	namespaces := slices.Collect(maps.Values(waiting))
	mu.Unlock()
	for _, ns := range namespaces {
		ns.Close()
	}
	select {
	case <-all:
	case <-time.After(patience):
		mu.Lock()
		t.Errorf("of %d deaths %d were not learnt, in %d sweeps", count, len(waiting), sweeps)
		mu.Unlock()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("%d sweeps for %d deaths", sweeps, count)
}

// smallBuffer leaves the kernel room for a few messages. Not the least, which is
// less than one.
func smallBuffer(t *testing.T, r *Registry) {
	t.Helper()
	onEvents(t, r, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<10) })
}

func onEvents(t *testing.T, r *Registry, fn func(fd int) error) {
	t.Helper()
	conn, err := r.events.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fnErr error
	if err := conn.Control(func(fd uintptr) { fnErr = fn(int(fd)) }); err != nil || fnErr != nil {
		t.Fatal(err, fnErr)
	}
}

// waitReadable waits until the kernel has kept something for Watch.
func waitReadable(fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && n == 0:
			return unix.ETIMEDOUT
		}
		return err
	}
}
