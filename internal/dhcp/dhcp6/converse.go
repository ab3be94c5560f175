package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

const (
	// firstDelay and maxDelay bound the wait before a message is sent again, which doubles
	// each time. RFC 8415, section 7.6, begins with 1 s for SOLICIT and REQUEST and with
	// 10 s for the others, and ends with 30 s to 1 h.
	firstDelay = time.Second
	maxDelay   = 8 * time.Second
	// patience is how long a better answer is waited for once there is one. RFC 8415,
	// section 18.2.1, has 1 s, which every container would wait for in full; servers on a
	// LAN answer within milliseconds.
	patience = 200 * time.Millisecond
)

// wire is the interface's DHCP port.
type wire interface {
	// ready waits until the interface can send; see Client for its errors.
	ready(ctx context.Context) error
	send(message []byte) error
	// receive returns os.ErrDeadlineExceeded at the deadline or when ctx ends. The message
	// is valid until the next call.
	receive(ctx context.Context, deadline time.Time) (message []byte, from netip.Addr, err error)
	close()
}

// verdict is what a reply means to a conversation.
type verdict int

const (
	ignored verdict = iota
	kept            // the conversation is over if nothing better comes within patience
	done            // the conversation is over
)

// talk is a message and how long it is repeated.
type talk struct {
	msg   *dhcpv6.Message
	first time.Duration // 0: firstDelay
	tries int           // 0: no limit
}

// converse sends a message, and again with growing delays (RFC 8415, section 15), until
// accept has what it wants. When that was tried as often as the talk allows, or when ctx
// has run into its timeout, the error is grant.ErrTimeout; it is ctx's cause when ctx
// ended otherwise.
func (c *Client) converse(ctx context.Context, t talk, accept func(*reply) verdict) error {
	delay := t.first
	if delay == 0 {
		delay = firstDelay
	}
	// Never less than it says: a SOLICIT gives every server that long (section 18.2.1).
	delay += rand.N(delay / 10)
	for n := 0; t.tries == 0 || n < t.tries; n++ {
		if ctx.Err() != nil { // nothing is asked for that nobody waits for
			return context.Cause(ctx)
		}
		setElapsed(t.msg, time.Since(c.start))
		// A full queue is a lost frame, which the next sending makes good.
		if err := c.wire.send(t.msg.ToBytes()); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("cannot send %s: %w", t.msg.MessageType, err)
		}
		if over, err := c.listen(ctx, t.msg, time.Now().Add(delay), accept); over {
			return err
		}
		delay = min(2*delay, maxDelay)
		// Jitter keeps containers that started together from asking in step.
		delay += rand.N(delay/5) - delay/10
	}
	return grant.ErrTimeout
}

// listen takes replies to msg until accept has what it wants, or until it is time to send
// again.
func (c *Client) listen(ctx context.Context, msg *dhcpv6.Message, again time.Time, accept func(*reply) verdict) (over bool, err error) {
	deadline, keeping := again, false
	for {
		b, from, err := c.wire.receive(ctx, deadline)
		switch {
		case ctx.Err() != nil:
			return true, context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return keeping, nil
		case err != nil:
			return true, fmt.Errorf("cannot receive: %w", err)
		case !answers(b, msg):
			if c.strays++; c.config.Strays > 0 && c.strays > c.config.Strays {
				return true, fmt.Errorf("more than %d messages answer nothing that was asked: somebody on this host may be guessing", c.config.Strays)
			}
			continue
		}
		r, err := parseReply(b, &c.config.Params)
		if err != nil {
			c.reject("frame", err)
			continue
		}
		r.from = from
		switch accept(r) {
		case done:
			return true, nil
		case kept:
			if !keeping {
				keeping, deadline = true, time.Now().Add(patience)
			}
		}
	}
}

// answers tells whether b claims to be a server's answer to msg; what does not may be
// another client's and is no bad frame.
func answers(b []byte, msg *dhcpv6.Message) bool {
	if len(b) < dhcpv6.MessageHeaderSize || dhcpv6.TransactionID(b[1:4]) != msg.TransactionID {
		return false
	}
	kind := dhcpv6.MessageType(b[0])
	return kind == dhcpv6.MessageTypeReply || kind == dhcpv6.MessageTypeAdvertise
}
