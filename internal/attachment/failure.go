package attachment

import (
	"errors"
	"time"
)

// Failure is why the removal of an attachment has failed, and when it is tried again.
type Failure struct {
	// Error has all that is known of the last try; it may name files of the host.
	Error string `json:"error"`
	// Detail says it in words for the attachment's owner.
	Detail   string    `json:"detail"`
	Attempts int       `json:"attempts"`
	Last     time.Time `json:"last_try"`
	Next     time.Time `json:"next_try"`
	// Waits: there is nothing to try before the namespace dies or is shown.
	Waits bool `json:"waits,omitempty"`
}

// The pause before a removal that has failed is tried again: the first, twice as long
// each time, up to the last. A detach or an attach of the same interface does not wait,
// nor does the death of the namespace, nor a start of the daemon.
const (
	firstRetry = 2 * time.Second
	lastRetry  = 5 * time.Minute
)

// maxError is how much of an error is kept, in bytes.
const maxError = 1 << 10

// nextFailure is the failure after an earlier one, nil for none.
func nextFailure(earlier *Failure, err error, detail string, now time.Time) *Failure {
	f := &Failure{Error: clip(err.Error()), Detail: clip(detail), Attempts: 1, Last: now.UTC(), Waits: errors.Is(err, errUnfinished)}
	if earlier != nil {
		f.Attempts = earlier.Attempts + 1
	}
	pause := lastRetry
	if doublings := f.Attempts - 1; !f.Waits && doublings < 16 {
		pause = min(firstRetry<<doublings, lastRetry)
	}
	f.Next = f.Last.Add(pause)
	return f
}

func clip(text string) string {
	if len(text) > maxError {
		return text[:maxError] + "…"
	}
	return text
}

// isDue says whether the next try may begin. A clock that was set back holds up none.
func (f *Failure) isDue(now time.Time) bool {
	return !now.Before(f.Next) || now.Before(f.Last)
}

// fail notes that a removal has not come to its end, and has it tried again later.
func (m *Manager) fail(k Key, err error) {
	r, ok := m.Get(k)
	if !ok {
		return
	}
	failure := nextFailure(r.Failure, err, m.explain(err), m.now())
	m.becomeAnyway(r, failing, func(r *Record) { r.Failure = failure })
	select {
	case m.failed <- struct{}{}:
	default:
	}
}

// untilRetry is the time until the first removal that has failed is due; ok is false
// if none has.
func (m *Manager) untilRetry() (d time.Duration, ok bool) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.records {
		if r.State != FailedDetach || r.Failure.Waits {
			continue
		}
		left := max(0, r.Failure.Next.Sub(now))
		if r.Failure.isDue(now) {
			left = 0
		}
		if !ok || left < d {
			d, ok = left, true
		}
	}
	return d, ok
}
