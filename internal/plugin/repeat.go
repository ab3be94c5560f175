package plugin

import (
	"context"
	"errors"
	"io"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/taken"
)

// A daemon that restarts is back within two seconds.
const (
	retryEvery = 50 * time.Millisecond
	maxRetries = int(2 * time.Second / retryEvery)
)

// maxLost is how often a request is repeated whose connection the daemon closed: once
// for a daemon that stops, and some for its successor. A request that crashes the
// daemon must not do so until systemd starts it no more.
const maxLost = 3

// errNoAnswer says that the daemon closed the connection before it had given a whole answer.
var errNoAnswer = errors.New("the connection was closed without an answer")

// repeat makes a call, and makes it again for two seconds while the daemon may be
// restarting: while nobody listens, or when the connection ends before a whole answer. It reports whether an earlier request may have been carried out, its
// answer being lost; so a call must be one that can be made twice.
func (c *client) repeat(ctx context.Context, call func(context.Context) error) (lost bool, err error) {
	losses := 0
	for retries := 0; ; retries++ {
		var connected, answered atomic.Bool // the transport reads in a goroutine of its own
		err := call(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn:              func(httptrace.GotConnInfo) { connected.Store(true) },
			GotFirstResponseByte: func() { answered.Store(true) },
		}))
		var untaken *taken.Error
		if err == nil || ctx.Err() != nil || errors.As(err, &untaken) {
			return losses > 0, err
		}
		// With a connection, nothing read and time left it was the daemon that hung up:
		// EOF, ECONNRESET, EPIPE, and net/http's own words for them.
		again := mayPass(err)
		if connected.Load() && (!answered.Load() || cutOff(err)) {
			losses++
			again, err = losses <= maxLost, errNoAnswer
		}
		if !again || retries == maxRetries {
			return losses > 0, err
		}
		if err := c.pause(ctx); err != nil {
			return losses > 0, err
		}
	}
}

// pause waits until the next attempt is due.
func pause(ctx context.Context) error { return wait(ctx, retryEvery) }

// cutOff reports whether the connection ended in the middle of an answer, or after 100
// (Continue).
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// mayPass reports whether a restart of the daemon explains why it could not be
// connected to.
func mayPass(err error) bool {
	var unreachable *unreachableError
	return errors.As(err, &unreachable) &&
		(isAbsent(err) || errors.Is(err, unix.ECONNREFUSED))
}
