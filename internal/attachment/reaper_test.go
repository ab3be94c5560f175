package attachment

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// The kernel's own ids are another namespace's as soon as they are free: a death that
// is dealt with late is not that of who has the id by then.
func TestDeathsOfUsedIDs(t *testing.T) {
	testlab.RequireRoot(t)
	const low = 7
	for _, tt := range []struct {
		name   string
		before bool // the death is told before the attach
		change func(w *world)
		stays  bool
	}{
		{"told before", true, func(w *world) {}, true},
		{"told before, and the link is gone", true, func(w *world) { w.links = nil }, true},
		{"told after, by the kernel's delay", false, func(w *world) {}, true},
		{"told after", false, func(w *world) { w.dead, w.links = true, nil }, false},
		{"told after, and the id is another's", false, func(w *world) { w.links[0].MAC = net.HardwareAddr{2, 9, 9, 9, 9, 9} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &runner{world: &world{id: low}}
			m := open(t, t.TempDir(), r)
			q := request(t, namespace(t))
			q.UID = 0
			var deaths deaths
			if tt.before {
				deaths.add(low, m.lastSerial())
			}
			mustAttach(t, m, q)
			if !tt.before {
				deaths.add(low, m.lastSerial())
			}
			r.world.change(tt.change)
			ids := deaths.take()
			m.reap(context.Background(), died, func(r *Record) bool { return m.died(r, ids) })
			m.releases.Wait()
			if _, ok := m.Get(q.Key); ok != tt.stays {
				t.Errorf("it is there: %v, want %v", ok, tt.stays)
			}
		})
	}
}

// A namespace with an id that is given once only is gone when its death is told.
func TestDeathOfALastingID(t *testing.T) {
	testlab.RequireRoot(t)
	m := open(t, t.TempDir(), &runner{})
	q := request(t, namespace(t))
	mustAttach(t, m, q)
	m.reap(context.Background(), died, func(r *Record) bool {
		return m.died(r, map[int32]uint64{someID: m.lastSerial(), someID + 1: m.lastSerial()})
	})
	m.releases.Wait()
	if len(m.List()) > 0 {
		t.Error("it is still there")
	}
}

// Whoever holds the locks of more of their own dead than are released at a time holds up
// nobody else's release of what died with them, or dies later. Theirs are released when they
// let go.
func TestReleasesWaitForTheirOwnUserAlone(t *testing.T) {
	testlab.RequireRoot(t)
	const mallory, alice = 1001, 1000
	w := &world{id: someID, deaths: make(chan int32)}
	m := open(t, t.TempDir(), &runner{world: w})
	m.namespaces = w
	q := request(t, namespace(t))
	attach := func(uid uint32, id, resource string) Key {
		t.Helper()
		q.Key, q.Resource = Key{UID: uid, ContainerID: id, Interface: id}, resource
		return mustAttach(t, m, q).Key
	}
	var locked []func()
	for i := range reapAtOnce + 1 {
		unlock, err := m.keys.acquire(t.Context(), attach(mallory, fmt.Sprint("m", i), "of-mallory"))
		if err != nil {
			t.Fatal(err)
		}
		locked = append(locked, unlock)
	}
	attach(alice, "a0", "of-alice")
	w.change(func(w *world) { w.id++ }) // of the namespace before nothing is left

	released := make(chan string)
	m.released = func(resource string, err error) {
		if err != nil {
			t.Error(err)
		}
		released <- resource
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-released:
			if got != want {
				t.Fatalf("released is one of %s, want %s", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("nothing of %s is released", want)
		}
	}
	next("of-alice")
	attach(alice, "a1", "of-alice")
	w.deaths <- w.id
	next("of-alice")
	for _, unlock := range locked {
		unlock()
	}
	for range locked {
		next("of-mallory")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left := m.List(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What is told of a record while something is done with it counts when that is over.
func TestDeathDuringARemoval(t *testing.T) {
	testlab.RequireRoot(t)
	r := &runner{}
	m := open(t, t.TempDir(), r)
	q := request(t, namespace(t))
	mustAttach(t, m, q)
	failed := errors.New("not now")
	r.deleting = func(context.Context) error {
		r.deleting = nil
		ids := map[int32]uint64{someID: m.lastSerial()}
		m.reap(context.Background(), died, func(r *Record) bool { return m.died(r, ids) })
		return failed
	}
	if err := m.Detach(context.Background(), q.Key, q.Namespace); !errors.Is(err, failed) {
		t.Fatalf("detach: %v", err)
	}
	m.releases.Wait()
	if len(m.List()) > 0 {
		t.Errorf("left: %+v", m.List()[0])
	}
}
