package attachment

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/testlab"
)

func (w *world) rename(from, to string) {
	for i := range w.links {
		if w.links[i].Name == from {
			w.links[i].Name = to
		}
	}
}

// put places a link of the user's own, which hangs on nothing.
func (w *world) put(name string) {
	w.made++
	w.links = append(w.links, netns.Link{Index: w.made + 1, Name: name, MAC: net.HardwareAddr{2, 0, 0, 0, 1, byte(w.made)}})
}

func mustAttach(t *testing.T, m *Manager, q Request) *Record {
	t.Helper()
	r, err := m.Attach(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A link that its user has renamed is attached still, and goes when it is detached.
func TestRenamedLink(t *testing.T) {
	testlab.RequireRoot(t)
	for _, shown := range []bool{true, false} {
		r := &runner{}
		m := open(t, t.TempDir(), r)
		q := request(t, namespace(t))
		for range 3 {
			mustAttach(t, m, q)
			r.world.change(func(w *world) { w.rename("eth0", "mine"); w.put("eth0") })
			if _, err := m.Attach(context.Background(), q); !errors.Is(err, ErrAlreadyAttached) {
				t.Fatalf("attach of what is there under another name: %v, want %v", err, ErrAlreadyAttached)
			}
			ns := q.Namespace
			if !shown {
				ns = nil
			}
			if err := m.Detach(context.Background(), q.Key, ns); err != nil {
				t.Fatal(err)
			}
			if left := r.world.names(); slices.Contains(left, "mine") {
				t.Fatalf("with the namespace shown %v: left are %v", shown, left)
			}
			r.world.delLink("eth0")
		}
	}
}

// What a user has removed by hand is no reason to fail, and no reason not to attach anew.
func TestRemovedLink(t *testing.T) {
	testlab.RequireRoot(t)
	r := &runner{}
	m := open(t, t.TempDir(), r)
	q := request(t, namespace(t))
	mustAttach(t, m, q)
	r.world.delLink("eth0")
	mustAttach(t, m, q)
	r.world.delLink("eth0")
	if err := m.Detach(context.Background(), q.Key, q.Namespace); err != nil || len(m.List()) > 0 {
		t.Errorf("detach: %v, records %v", err, m.List())
	}
}

// A failed attach leaves no link of its own, whatever its user has made of the name,
// and spares what is not its own.
func TestFailedAttachLeavesNoLink(t *testing.T) {
	testlab.RequireRoot(t)
	failed := errors.New("failed")
	for _, tt := range []struct {
		name   string
		during func(w *world)
		err    error
		want   error
	}{
		{"ADD fails", func(*world) {}, failed, failed},
		{"renamed, and ADD fails", func(w *world) { w.rename("eth1", "mine") }, failed, failed},
		{"renamed", func(w *world) { w.rename("eth1", "mine") }, nil, ErrInterfered},
		{"replaced by one of the user's", func(w *world) { w.rename("eth1", "mine"); w.put("eth1") }, nil, ErrInterfered},
		{"replaced by another attachment's", func(w *world) { w.rename("eth1", "mine"); w.rename("eth0", "eth1") }, nil, ErrInterfered},
		{"replaced by one that was there before", func(w *world) { w.rename("eth1", "mine"); w.rename("theirs", "eth1") }, nil, ErrInterfered},
		{"removed", func(w *world) {
			w.links = slices.DeleteFunc(w.links, func(l netns.Link) bool { return l.Name == "eth1" })
		}, nil, ErrInterfered},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &runner{}
			m := open(t, t.TempDir(), r)
			first := request(t, namespace(t))
			mustAttach(t, m, first)
			r.world.addLink("theirs") // made by others than this daemon
			own := map[int]bool{}
			r.world.change(func(w *world) {
				for _, l := range w.links {
					own[l.Index] = true
				}
			})
			r.adding = func(context.Context) error { r.world.change(tt.during); return tt.err }
			// DEL by name is of no use where names are changed.
			r.del = func() error { r.world.change(func(w *world) { w.rename("eth1", "out of reach") }); return nil }

			second := first
			second.Interface = "eth1"
			if _, err := m.Attach(context.Background(), second); !errors.Is(err, tt.want) {
				t.Errorf("attach: %v, want %v", err, tt.want)
			}
			if _, ok := m.Get(second.Key); ok {
				t.Error("it has a record still")
			}
			count := 0
			r.world.change(func(w *world) {
				for _, l := range w.links {
					if l.OnHost && !own[l.Index] {
						t.Errorf("left on the host's link: %s", l.Name)
					}
					if own[l.Index] {
						count++
					}
				}
			})
			if count != len(own) {
				t.Errorf("of %d links that were there before, %d are left", len(own), count)
			}
		})
	}
}

// Attachments of one namespace are made one after the other, or nobody could tell
// whose a link is.
func TestOneNamespaceOneAtATime(t *testing.T) {
	testlab.RequireRoot(t)
	var inside atomic.Int32
	r := &runner{adding: func(context.Context) error {
		defer inside.Add(-1)
		if inside.Add(1) > 1 {
			t.Error("two at a time")
		}
		return nil
	}}
	m := open(t, t.TempDir(), r)
	ns := namespace(t)
	var all sync.WaitGroup
	for i := range 8 {
		q := request(t, ns)
		q.ContainerID, q.Interface = string(rune('a'+i)), "eth"+string(rune('0'+i))
		all.Go(func() {
			if _, err := m.Attach(context.Background(), q); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := m.Detach(context.Background(), q.Key, ns); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if links, records := r.world.names(), m.List(); len(links) != 4 || len(records) != 4 {
		t.Errorf("left are %v and %d records", links, len(records))
	}
	if len(m.places.held) != 0 || len(m.keys.held) != 0 {
		t.Error("locks that nobody holds are kept")
	}
}

// A namespace with the numbers of the one that is recorded, but which the kernel
// knows by another id, is another one.
func TestSameNumbersAnotherNamespace(t *testing.T) {
	testlab.RequireRoot(t)
	r := &runner{}
	m := open(t, t.TempDir(), r)
	q := request(t, namespace(t))
	mustAttach(t, m, q)
	r.world.change(func(w *world) { w.id++ })
	if err := m.Detach(context.Background(), q.Key, q.Namespace); err != nil {
		t.Fatal(err)
	}
	if got, want := r.calls[len(r.calls)-1], "DEL 1000.c1 eth0 without a namespace"; got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
}

// An id that the kernel chose, as a user can have it done, is no basis for finding
// again what is attached; root's own are taken as they are.
func TestForeignIDs(t *testing.T) {
	testlab.RequireRoot(t)
	r := &runner{world: &world{id: 7}}
	m := open(t, t.TempDir(), r)
	q := request(t, namespace(t))
	if _, err := m.Attach(context.Background(), q); !errors.Is(err, ErrForeignID) || len(r.calls) > 0 || len(m.List()) > 0 {
		t.Errorf("attach: %v, want %v; plugins ran: %v", err, ErrForeignID, r.calls)
	}
	q.UID = 0
	mustAttach(t, m, q)
}
