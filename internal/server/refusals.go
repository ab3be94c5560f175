package server

import (
	"sync"
	"time"
)

// What one user's refused requests may take of the log. A user who means no harm
// stays far below it; one in a loop would push everybody else's lines out.
const (
	refusalBurst    = 10 // lines
	refusalsPerSec  = 1
	refusalAccounts = 1024 // remembered at a time
)

// refusals bounds the lines that are logged of requests without success, by account:
// a token bucket for each. Successes are not its business.
type refusals struct {
	now func() time.Time

	mu      sync.Mutex
	buckets map[uint32]*bucket
}

type bucket struct {
	tokens     float64
	at         time.Time // when tokens was right
	suppressed uint64
}

func newRefusals(now func() time.Time) *refusals {
	return &refusals{now: now, buckets: map[uint32]*bucket{}}
}

// allow says whether a line may be logged, and how many of the account's have not
// been since the last one that was.
func (r *refusals) allow(account uint32) (suppressed uint64, ok bool) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[account]
	if b == nil {
		r.makeRoom()
		b = &bucket{tokens: refusalBurst, at: now}
		r.buckets[account] = b
	}
	b.tokens = min(refusalBurst, b.tokens+now.Sub(b.at).Seconds()*refusalsPerSec)
	b.at = now
	if b.tokens < 1 {
		b.suppressed++
		return 0, false
	}
	b.tokens--
	suppressed, b.suppressed = b.suppressed, 0
	return suppressed, true
}

// makeRoom forgets who has been quiet for longest where there are as many as may be.
func (r *refusals) makeRoom() {
	if len(r.buckets) < refusalAccounts {
		return
	}
	var quiet uint32
	var since time.Time
	for account, b := range r.buckets {
		if since.IsZero() || b.at.Before(since) {
			quiet, since = account, b.at
		}
	}
	delete(r.buckets, quiet)
}
