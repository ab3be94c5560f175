package dhcp

import (
	"math/rand/v2"
	"time"
)

const (
	// minRetry is the shortest pause between two tries to prolong a lease (RFC 2131,
	// section 4.4.5), if the lease is long enough for it.
	minRetry = time.Minute
	// maxBackoff is the longest between two tries to get a new lease (RFC 2131, section 4.1).
	maxBackoff = 64 * time.Second
	// probeEvery is between two ARP probes: RFC 5227, section 1.1, PROBE_MIN to PROBE_MAX.
	probeEvery = 1500 * time.Millisecond
)

// task is what is to be done with a lease.
type task string

const (
	nothing  task = "nothing"
	settle   task = "settle" // make the interface have what the record says
	probe    task = "probe"
	renew    task = "renew"
	rebind   task = "rebind"
	confirm  task = "reboot" // RFC 2131's word for it, INIT-REBOOT
	expire   task = "expire"
	discover task = "discover"
)

// taskAt is what is to be done with a lease at a time since boot. Unconfirmed says that
// it ended while no daemon was there to prolong it. Whatever is done, what is undone on
// the interface is tried first; it is a task of its own only where nothing else is due,
// so that an interface that refuses to be changed does not keep a lease from its end.
func (l *Lease) taskAt(now time.Duration, unconfirmed bool) task {
	age := now - l.Acquired
	switch {
	case l.Superseded && len(l.Undone) > 0:
		return settle
	case l.Superseded:
		return nothing
	case l.Expired:
		return discover
	case l.overAt(now) && unconfirmed:
		return confirm
	case l.overAt(now):
		return expire
	case !l.Infinite() && age >= l.T2:
		return rebind
	case !l.Infinite() && age >= l.T1:
		return renew
	case len(l.Undone) > 0:
		return settle
	case l.Probes > 0 && now >= l.probeAt():
		return probe
	}
	return nothing
}

// dueAt is the time since boot of a lease's next task.
func (l *Lease) dueAt(now time.Duration) time.Duration {
	switch {
	case len(l.Undone) > 0:
		return now
	case l.Superseded:
		return never
	case l.Expired:
		return now
	}
	due := never
	if !l.Infinite() {
		due = max(now, l.Acquired+l.T1)
	}
	if l.Probes > 0 {
		due = min(due, max(now, l.probeAt()))
	}
	return due
}

func (l *Lease) probeAt() time.Duration {
	return l.Acquired + time.Duration(laterProbes-l.Probes+1)*probeEvery
}

// retryAt is when a task that has failed, for the fails-th time on end, is tried again:
// after half of the time that is left for it (RFC 2131, section 4.4.5), or with growing
// pauses where nothing runs out. It is never later than what time itself brings.
func (l *Lease) retryAt(now time.Duration, fails int) time.Duration {
	pause := min(time.Second<<min(fails-1, 10), maxBackoff)
	pause += rand.N(pause/4+1) - pause/8 // those that failed together shall not ask in step
	age := now - l.Acquired
	if l.Expired || l.Superseded || l.Infinite() || age >= l.Lifetime {
		return now + pause
	}
	begin, end := l.T2, l.Lifetime // rebinding
	switch {
	case age < l.T1:
		return min(now+pause, l.Acquired+l.T1)
	case age < l.T2:
		begin, end = l.T1, l.T2
	}
	left := end - age
	half := max(left/2, min(minRetry, (end-begin)/4), time.Second)
	return now + min(half, left)
}
