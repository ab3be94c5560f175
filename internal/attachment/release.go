package attachment

import (
	"context"
	"errors"
	"sync"

	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/fair"
)

// reapAtOnce bounds the releases of a user's whose containers end at the same moment; the
// user's own requests are not held up by them. Those of everybody have Options.Turns; where
// disk or kernel are slow, each of them takes a thread.
const reapAtOnce = 2

// reason is how it was found that a record may be due for its release.
type reason int

const (
	recovered reason = iota // an earlier run had begun something
	swept                   // a look at all records
	died                    // the kernel's word
	retried                 // a removal failed before
)

// reasons has for a key what there is to say about whether its record is due. What is said
// later for the same reason stands in place of what was said before.
type reasons struct {
	mu  sync.Mutex
	all map[Key]map[reason]func(*Record) bool
}

func (s *reasons) add(k Key, why reason, due func(*Record) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[Key]map[reason]func(*Record) bool{}
	}
	if s.all[k] == nil {
		s.all[k] = map[reason]func(*Record) bool{}
	}
	s.all[k][why] = due
}

// take returns whether any of a key's reasons has a record due, and forgets them.
func (s *reasons) take(k Key) func(*Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all[k]
	delete(s.all, k)
	return func(r *Record) bool {
		for _, due := range all {
			if due(r) {
				return true
			}
		}
		return false
	}
}

// reap has the records that are due removed, each user's beside the others', and does not
// wait for it: what one user's is held up by holds up neither these nor what dies after
// them. Each is asked about again when it is its turn, with its key's lock held. It may be in
// another state by then, and still due: in the middle of a removal that has failed, say.
func (m *Manager) reap(ctx context.Context, why reason, due func(*Record) bool) {
	for _, r := range m.List() {
		if !due(r) {
			continue
		}
		m.reasons.add(r.Key, why, due)
		m.releases.Begin(r.UID, r.Key, func() {
			if ctx.Err() == nil { // or else the next daemon does it
				_ = m.releaseIf(ctx, r.Key, m.reasons.take)
			}
		})
	}
}

// release removes a record that was seen, if it is still the one. Its errors are logged.
func (m *Manager) release(ctx context.Context, seen *Record) error {
	return m.releaseIf(ctx, seen.Key, func(Key) func(*Record) bool {
		return func(r *Record) bool { return r == seen }
	})
}

// releaseIf removes a key's record if it is due by what due says once the key's lock is
// held. Its errors are logged.
func (m *Manager) releaseIf(ctx context.Context, k Key, due func(Key) func(*Record) bool) error {
	unlock, err := m.keys.acquire(ctx, k)
	if err != nil {
		return err // the daemon ends
	}
	defer unlock()
	isDue := due(k)
	r, ok := m.Get(k)
	if !ok || !isDue(r) {
		return nil
	}
	turn, leave, err := m.turns.Enter(ctx, r.UID, fair.Remove) // whose wait is not the removal's time
	if err != nil {
		return err
	}
	defer leave()
	log := m.logOf(r)
	// What has begun is finished, also when the daemon ends meanwhile.
	removal, cancel := m.bounded(context.WithoutCancel(turn))
	defer cancel()
	err = m.remove(removal, r, nil)
	m.released(r.Resource, err)
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
