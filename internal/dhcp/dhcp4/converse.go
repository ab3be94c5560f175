package dhcp4

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// firstDelay and maxDelay bound the wait before a message is sent again; it doubles
// each time. RFC 2131, section 4.1, suggests 4 to 64 s, too long for somebody who waits
// for a container to start.
const (
	firstDelay = time.Second
	maxDelay   = 8 * time.Second
)

// wire is the interface's DHCP port.
type wire interface {
	send(dst net.HardwareAddr, from, to netip.Addr, message []byte) error
	receive(ctx context.Context, deadline time.Time) (message []byte, from net.HardwareAddr, err error)
	arp() arpWire
	close()
}

// talk is a message, where it goes, and how long it is repeated.
type talk struct {
	msg      *dhcpv4.DHCPv4
	hardware net.HardwareAddr
	from, to netip.Addr
	tries    int       // 0: no limit
	end      time.Time // zero: ctx's
}

func broadcast(msg *dhcpv4.DHCPv4) *talk {
	return &talk{
		msg: msg, hardware: broadcastMAC(),
		from: netip.IPv4Unspecified(), to: netip.AddrFrom4([4]byte{255, 255, 255, 255}),
	}
}

// endWithin gives up after d, if that is earlier than before.
func (t *talk) endWithin(d time.Duration) {
	if end := time.Now().Add(d); t.end.IsZero() || end.Before(t.end) {
		t.end = end
	}
}

// until is the earlier of a moment and the talk's end.
func (t *talk) until(moment time.Time) time.Time {
	if !t.end.IsZero() && t.end.Before(moment) {
		return t.end
	}
	return moment
}

// converse sends a message, and again with growing delays, until accept says that a
// reply is the one. When that was tried as often or as long as the talk allows, or when
// ctx has run into its timeout, the error is grant.ErrTimeout; it is ctx's cause when
// ctx ended otherwise.
func (c *Client) converse(ctx context.Context, t *talk, accept func(*dhcpv4.DHCPv4, net.HardwareAddr) (bool, error)) error {
	discover := t.msg.MessageType() == dhcpv4.MessageTypeDiscover
	for n, delay := 0, firstDelay; t.tries == 0 || n < t.tries; n, delay = n+1, min(2*delay, maxDelay) {
		if discover {
			t.msg.NumSeconds = uint16(time.Since(c.start) / time.Second)
		}
		// A full queue is a lost frame, which the next sending makes good.
		err := c.wire.send(t.hardware, t.from, t.to, t.msg.ToBytes())
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("cannot send %s: %w", t.msg.MessageType(), err)
		}
		// Jitter keeps containers that started together from asking in step.
		again := time.Now().Add(delay + rand.N(delay/4) - delay/8)
		if done, err := c.listen(ctx, t, again, accept); done {
			return err
		}
		if !t.end.IsZero() && !time.Now().Before(t.end) {
			break
		}
	}
	return grant.ErrTimeout
}

// listen takes replies to the talk's message until accept has the one, or until it is
// time to send again.
func (c *Client) listen(ctx context.Context, t *talk, again time.Time, accept func(*dhcpv4.DHCPv4, net.HardwareAddr) (bool, error)) (done bool, err error) {
	for {
		b, from, err := c.wire.receive(ctx, t.until(again))
		if ctx.Err() != nil {
			return true, context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return true, fmt.Errorf("cannot receive: %w", err)
		}
		reply, err := parseMessage(b)
		if err != nil {
			c.reject("frame", err)
			continue
		}
		if reply.TransactionID != t.msg.TransactionID {
			continue
		}
		if done, err := accept(reply, from); done {
			return true, err
		}
	}
}
