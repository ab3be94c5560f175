package plugin

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

const (
	// busyPatience is how long a daemon that says that it is busy is asked again, from the
	// first time that it is asked. Podman holds its user's network lock meanwhile, and a
	// person sits before it.
	busyPatience = time.Minute
	// maxBusyWait bounds one wait, whatever the daemon says.
	maxBusyWait = 10 * time.Second
)

// ask makes a call like repeat, and again when the daemon has too much to do: as often as
// there is patience for. The call's last response stays.
func (c *client) ask(ctx context.Context, call func(context.Context) (*http.Response, error)) (lost bool, err error) {
	end := c.now().Add(min(busyPatience, c.patience))
	for {
		var r *http.Response
		lostNow, err := c.repeat(ctx, func(ctx context.Context) (err error) {
			r, err = call(ctx)
			return err
		})
		lost = lost || lostNow
		if err != nil || r.StatusCode != http.StatusTooManyRequests {
			return lost, err
		}
		wait := busyWait(r.Header)
		if c.now().Add(wait).After(end) {
			return lost, nil
		}
		if err := c.wait(ctx, wait); err != nil {
			return lost, err
		}
	}
}

// busyWait is how long a daemon that is busy asks to be left alone (RFC 9110, section
// 10.2.3; net-porter says it in seconds).
func busyWait(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil || seconds < 1 {
		return time.Second
	}
	return min(time.Duration(seconds)*time.Second, maxBusyWait)
}

// wait waits for d, or fails with the context's error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
