package attachment

import (
	"context"
	"net"
	"testing"

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
			m.reap(context.Background(), func(r *Record) bool { return m.died(r, ids) })
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
	m.reap(context.Background(), func(r *Record) bool {
		return m.died(r, map[int32]uint64{someID: m.lastSerial(), someID + 1: m.lastSerial()})
	})
	if len(m.List()) > 0 {
		t.Error("it is still there")
	}
}
