package attachment

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/net-porter/net-porter/internal/netns"
)

// Namespaces tells which network namespaces live; *netns.Registry is one.
type Namespaces interface {
	Assign(*netns.Namespace) (id int32, fresh bool, err error)
	Alive(ids []int32) (map[int32]struct{}, error)
	Links(ns *netns.Namespace, id int32, keep func(netns.Link) bool) ([]netns.Link, error)
	VisibleLinks(id int32, keep func(netns.Link) bool) ([]netns.Link, error)
	Link(id int32, index int) (netns.Link, bool, error)
	DeleteLink(id int32, index int) error
	Watch(ctx context.Context, dead func(id int32), lost func()) error
}

const (
	// sweepEvery is how often what is owed is tried again, and what no message of the
	// kernel told is looked for.
	sweepEvery = time.Minute
	// reapAtOnce bounds the plugin runs of a machine's worth of containers that end
	// at the same moment; users' own requests are not held up by them.
	reapAtOnce = 4
)

// Run releases attachments whose namespaces are gone, and those whose removal is
// owed: at first what an earlier run of the daemon left, then whenever the kernel
// tells that a namespace has died. It returns nil when ctx ends and what it had
// begun is done.
func (m *Manager) Run(ctx context.Context) error {
	m.recover(ctx)
	deaths := deaths{told: make(chan struct{}, 1)}
	group, watching := errgroup.WithContext(ctx)
	group.Go(func() error {
		dead := func(id int32) { deaths.add(id, m.lastSerial()) }
		return m.namespaces.Watch(watching, dead, func() { dead(everything) })
	})
	group.Go(func() error {
		sweeps := time.NewTicker(sweepEvery)
		defer sweeps.Stop()
		m.sweep(watching)
		for {
			select {
			case <-watching.Done():
				return nil
			case <-sweeps.C:
				m.sweep(watching)
			case <-deaths.told:
				ids := deaths.take()
				if _, all := ids[everything]; all {
					m.sweep(watching)
					continue
				}
				m.reap(watching, func(r *Record) bool { return m.died(r, ids) })
			}
		}
	})
	return group.Wait()
}

// died says whether a record's namespace is among the dead, by what was the last
// record when each death was told. An id that is not lasting may by then, or even
// before the death was told, be a namespace's that is alive: the link tells.
func (m *Manager) died(r *Record, ids map[int32]uint64) bool {
	last, dead := ids[r.NSID]
	if !dead || r.serial > last {
		return false
	}
	if netns.Lasting(r.NSID) || r.Link == 0 {
		return true
	}
	l, there, err := m.namespaces.Link(r.NSID, r.Link)
	if err != nil {
		m.log.Error("cannot tell whether an attachment's namespace is gone", "attachment", r.Key.String(), "error", err)
		return false
	}
	return !there || !slices.Contains(r.MACs(), l.MAC.String())
}

// recover undoes what an earlier run had begun and not finished, and drops leases of
// attachments that are not in the journal, as when somebody has removed a record.
func (m *Manager) recover(ctx context.Context) {
	for _, l := range m.leases.All() {
		if _, ok := m.Get(keyOf(l.ID, l.Interface)); !ok {
			m.log.Warn("a DHCP lease is dropped: its attachment is not in the journal", "id", l.ID, "interface", l.Interface, "address", l.Address)
			if err := m.leases.Forget(l.ID, l.Interface); err != nil {
				m.log.Error("cannot drop a DHCP lease", "id", l.ID, "error", err)
			}
		}
	}
	m.reap(ctx, func(r *Record) bool { return m.inherited[r] && r.State != Attached })
	m.inherited = nil
}

// sweep releases what is owed, and what lies in a namespace that is gone.
func (m *Manager) sweep(ctx context.Context) {
	records := m.List() // before asking: a younger one is not to be judged by the answer
	var ids []int32
	for _, r := range records {
		ids = append(ids, r.NSID)
	}
	alive, err := m.namespaces.Alive(ids)
	if err != nil {
		m.log.Error("cannot look for attachments whose namespaces are gone", "error", err)
		return
	}
	due := map[*Record]bool{}
	for _, r := range records {
		_, lives := alive[r.NSID]
		waits := lives && r.Result == nil && !r.Cleared && netns.Lasting(r.NSID) // nothing new can be done
		due[r] = r.State == Detaching && !waits || r.Namespace.BootID != m.boot || !lives
	}
	m.reap(ctx, func(r *Record) bool { return due[r] })
}

// reap removes the records that are due. A record that has meanwhile gone on to its
// next state is somebody else's to deal with.
func (m *Manager) reap(ctx context.Context, due func(*Record) bool) {
	var group errgroup.Group
	group.SetLimit(reapAtOnce)
	for _, r := range m.List() {
		if ctx.Err() != nil {
			break
		}
		if due(r) {
			group.Go(func() error { m.release(ctx, r); return nil })
		}
	}
	_ = group.Wait()
}

func (m *Manager) release(ctx context.Context, seen *Record) {
	unlock, err := m.keys.acquire(ctx, seen.Key)
	if err != nil {
		return // the daemon ends
	}
	defer unlock()
	if current, ok := m.Get(seen.Key); !ok || current != seen {
		return
	}
	log := m.log.With("uid", seen.UID, "container", seen.ContainerID, "container_name", seen.Container,
		"resource", seen.Resource, "interface", seen.Interface, "state", seen.State)
	// What has begun is finished, also when the daemon ends meanwhile.
	removal, cancel := m.bounded(context.WithoutCancel(ctx))
	defer cancel()
	switch err := m.remove(removal, seen, nil); {
	case errors.Is(err, errUnfinished):
		log.Warn("an attachment that was not finished is kept for now", "error", err)
		return
	case err != nil:
		log.Error("cannot release an attachment that is over; it is tried again", "error", err)
		return
	}
	log.Info("released an attachment whose container is gone or that was not finished")
}

// everything stands among the ids of the dead for "some were not told".
const everything int32 = -1

// deaths collects the ids of dead namespaces, each with the serial of the last record
// when it was told, so that those who tell never wait.
type deaths struct {
	told chan struct{} // holds one value when there are ids to take

	mu  sync.Mutex
	ids map[int32]uint64
}

func (d *deaths) add(id int32, last uint64) {
	d.mu.Lock()
	if d.ids == nil {
		d.ids = map[int32]uint64{}
	}
	d.ids[id] = last // serials grow
	d.mu.Unlock()
	select {
	case d.told <- struct{}{}:
	default:
	}
}

func (d *deaths) take() map[int32]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := d.ids
	d.ids = nil
	return ids
}
