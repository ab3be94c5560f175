package attachment

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/fair"
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
	// sweepEvery is how often what no message of the kernel told is looked for.
	sweepEvery = time.Minute
	// reapAtOnce bounds the releases of a user's whose containers end at the same moment;
	// the user's own requests are not held up by them. Those of everybody have Options.Turns;
	// where disk or kernel are slow, each of them takes a thread.
	reapAtOnce = 2
)

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
		sweeps, retries := time.NewTicker(sweepEvery), time.NewTimer(0)
		defer sweeps.Stop()
		defer retries.Stop()
		// Beside Watch: a removal may take long, and what watches the subscription must not
		// take that for its end (netns.Registry.CheckWatch). One after the other: a record that
		// one is removing is another one by the time that the next looks.
		m.recover(watching)
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
				m.reap(watching, func(r *Record) bool { return r.isOwed() && r.Failure.isDue(now) })
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

// recover undoes what an earlier run had begun and not finished, and removes what nobody
// owns.
func (m *Manager) recover(ctx context.Context) {
	m.reap(ctx, func(r *Record) bool { return m.inherited[r] && r.State != Attached })
	m.inherited = nil
	if ctx.Err() != nil {
		return
	}
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
	due, now := map[*Record]bool{}, m.now()
	for _, r := range records {
		if r.isOwed() {
			due[r] = r.Failure.isDue(now) || r.Failure.Waits && !alive(r)
		} else {
			due[r] = r.State == Detaching || !alive(r)
		}
	}
	m.reap(ctx, func(r *Record) bool { return due[r] })
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

// reap removes the records that are due, each user's beside the others'. A record that has
// meanwhile gone on to its next state is somebody else's to deal with.
func (m *Manager) reap(ctx context.Context, due func(*Record) bool) {
	var begun []<-chan struct{}
	for _, r := range m.List() {
		if !due(r) {
			continue
		}
		done := m.releases.Begin(r.UID, r, func() {
			if ctx.Err() == nil { // or else the next daemon does it
				_ = m.release(ctx, r)
			}
		})
		if done != nil {
			begun = append(begun, done)
		}
	}
	for _, done := range begun {
		<-done
	}
}

// release removes a record that was seen, if it is still the one. Its errors are logged.
func (m *Manager) release(ctx context.Context, seen *Record) error {
	unlock, err := m.keys.acquire(ctx, seen.Key)
	if err != nil {
		return err // the daemon ends
	}
	defer unlock()
	if current, ok := m.Get(seen.Key); !ok || current != seen {
		return nil
	}
	turn, leave, err := m.turns.Enter(ctx, seen.UID, fair.Remove) // whose wait is not the removal's time
	if err != nil {
		return err
	}
	defer leave()
	log := m.logOf(seen)
	// What has begun is finished, also when the daemon ends meanwhile.
	removal, cancel := m.bounded(context.WithoutCancel(turn))
	defer cancel()
	err = m.remove(removal, seen, nil)
	m.released(seen.Resource, err)
	switch {
	case errors.Is(err, errUnfinished):
		log.Warn("an attachment that was not finished is kept for now", audit.ReleaseFailed.Attr(), "error", err)
	case err != nil:
		log.Error("cannot release an attachment that is over; it is tried again", audit.ReleaseFailed.Attr(), "error", err)
	default:
		log.Info("released an attachment whose container is gone or that was not finished", audit.Release.Attr())
	}
	return err
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
