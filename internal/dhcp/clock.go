package dhcp

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock is what leases are kept by. Its time is that since the machine's boot, suspend
// included (CLOCK_BOOTTIME, clock_gettime(2)): that somebody sets the wall clock neither
// ends a lease nor prolongs it, and a laptop that was asleep knows that time has passed.
// No lease outlives the boot, as no namespace does.
type clock interface {
	now() time.Duration
	// timer sends once, at that time or a little later.
	timer(at time.Duration) (c <-chan time.Time, stop func() bool)
}

type bootClock struct{}

func (bootClock) now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // there is no Linux without that clock
	}
	return time.Duration(ts.Nano())
}

func (c bootClock) timer(at time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(at - c.now())
	return t.C, t.Stop
}
