package server

import (
	"sync"
	"time"
)

// maxBuckets is how many accounts are remembered at a time.
const maxBuckets = 1024

// buckets has a token bucket for each account. Of too many accounts the one that has been
// quiet for longest is forgotten: its bucket has filled up again before any other's.
type buckets struct {
	now func() time.Time

	mu          sync.Mutex
	rate, burst float64 // tokens a second, and at most
	accounts    map[uint32]*bucket
	forgotten   uint64 // denied of accounts that are not remembered any more
}

type bucket struct {
	tokens float64
	at     time.Time // when tokens was right
	denied uint64    // since the last token that was given
}

func newBuckets(now func() time.Time, rate, burst float64) *buckets {
	return &buckets{now: now, rate: rate, burst: burst, accounts: map[uint32]*bucket{}}
}

// change has all tokens given at another rate from now on.
func (b *buckets) change(rate, burst float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate, b.burst = rate, burst
}

// take takes a token of the account's, and returns how many times there was none since
// the last one. Where there is none now, it returns how long until there is.
func (b *buckets) take(account uint32) (denied uint64, wait time.Duration) {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[account]
	if a == nil {
		b.makeRoom()
		a = &bucket{tokens: b.burst, at: now}
		b.accounts[account] = a
	}
	a.tokens = min(b.burst, a.tokens+max(0, now.Sub(a.at).Seconds())*b.rate)
	a.at = now
	if a.tokens < 1 {
		a.denied++
		// Never 0, which would be a token.
		return 0, max(1, time.Duration((1-a.tokens)/b.rate*float64(time.Second)))
	}
	a.tokens--
	denied, a.denied = a.denied, 0
	return denied, 0
}

// makeRoom forgets who has been quiet for longest where there are as many as may be.
func (b *buckets) makeRoom() {
	if len(b.accounts) < maxBuckets {
		return
	}
	var quiet uint32
	var since time.Time
	for account, a := range b.accounts {
		if since.IsZero() || a.at.Before(since) {
			quiet, since = account, a.at
		}
	}
	b.forgotten += b.accounts[quiet].denied
	delete(b.accounts, quiet)
}

// takeDenied returns by account how many times there was no token since the last one that
// was given, or since takeDenied, and how many times for accounts that were forgotten.
func (b *buckets) takeDenied() (byAccount map[uint32]uint64, forgotten uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	byAccount = map[uint32]uint64{}
	for account, a := range b.accounts {
		if a.denied > 0 {
			byAccount[account], a.denied = a.denied, 0
		}
	}
	forgotten, b.forgotten = b.forgotten, 0
	return byAccount, forgotten
}
