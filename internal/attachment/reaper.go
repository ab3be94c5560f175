package attachment

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/net-porter/net-porter/internal/audit"
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

// sweepEvery is how often what no message of the kernel told is looked for.
const sweepEvery = time.Minute

// Run releases attachments whose namespaces are gone, and those whose removal is
// owed: at first what an earlier run of the daemon left, then whenever the kernel
// tells that a namespace has died. It returns nil when ctx ends and what it had
// begun is done.
func (m *Manager) Run(ctx context.Context) error {
	deaths := deaths{told: make(chan struct{}, 1)}
	group, watching := errgroup.WithContext(ctx)
	group.Go(func() error {
		dead := func(id int32) { deaths.add(id, m.lastSerial()) }
		return m.namespaces.Watch(watching, dead, func() { dead(everything) })
	})
	group.Go(func() error {
		m.recover(watching)
		return nil
	})
	group.Go(func() error {
		sweeps, retries := time.NewTicker(sweepEvery), time.NewTimer(0)
		defer sweeps.Stop()
		defer retries.Stop()
		m.sweep(watching)
		for {
			retries.Stop()
			if d, ok := m.untilRetry(); ok {
				retries.Reset(max(d, firstRetry/4))
			}
			select {
			case <-watching.Done():
				return nil
			case <-m.failed: // the next one may be due earlier
			case <-retries.C:
				now := m.now()
				m.reap(watching, retried, func(r *Record) bool { return r.isOwed() && r.Failure.isDue(now) })
			case <-sweeps.C:
				m.sweep(watching)
			case <-deaths.told:
				ids := deaths.take()
				if _, all := ids[everything]; all {
					m.sweep(watching)
					continue
				}
				m.reap(watching, died, func(r *Record) bool { return m.died(r, ids) })
			}
		}
	})
	err := group.Wait()
	m.releases.Wait()
	return err
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

// recover undoes what an earlier run had begun and not finished, and removes what nobody
// owns.
func (m *Manager) recover(ctx context.Context) {
	inherited := m.inherited
	m.inherited = nil
	m.reap(ctx, recovered, func(r *Record) bool { return inherited[r] && r.State != Attached })
	for _, g := range m.unowned(ctx, false) {
		log := m.log.With("kind", g.Kind, "id", g.ID, "what", g.What)
		if g.Err != nil {
			log.Error("cannot remove what no attachment in the journal owns", audit.Leftover.Attr(), "removed", false, "error", g.Err)
			continue
		}
		log.Warn("removed what no attachment in the journal owns, as when somebody has removed its record", audit.Leftover.Attr(), "removed", true)
	}
}

// sweep releases what is owed, and what lies in a namespace that is gone.
func (m *Manager) sweep(ctx context.Context) {
	records := m.List() // before asking: a younger one is not to be judged by the answer
	alive, err := m.alive(records)
	if err != nil {
		m.log.Error("cannot look for attachments whose namespaces are gone", "error", err)
		return
	}
	now, known := m.now(), map[Key]uint64{}
	for _, r := range records {
		known[r.Key] = r.serial
	}
	m.reap(ctx, swept, func(r *Record) bool {
		if serial, ok := known[r.Key]; !ok || serial != r.serial {
			return false
		}
		if r.isOwed() {
			return r.Failure.isDue(now) || r.Failure.Waits && !alive(r)
		}
		return r.State == Detaching || !alive(r)
	})
}

// alive asks which of some records' namespaces live. An id that is not lasting may be
// another's by now.
func (m *Manager) alive(records []*Record) (func(*Record) bool, error) {
	var ids []int32
	for _, r := range records {
		ids = append(ids, r.NSID)
	}
	alive, err := m.namespaces.Alive(ids)
	return func(r *Record) bool {
		_, lives := alive[r.NSID]
		return lives && r.Namespace.BootID == m.boot
	}, err
}

// isOwed says whether a record's removal has failed.
func (r *Record) isOwed() bool { return r.State == FailedDetach }

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
