package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

const (
	// firstDelay and maxDelay bound the wait before a message is sent again; it
	// doubles each time. RFC 2131, section 4.1, suggests 4 to 64 s, too long for
	// somebody who waits for a container to start.
	firstDelay = time.Second
	maxDelay   = 8 * time.Second
	// maxRequests is how often a REQUEST is sent before a new server is looked for.
	maxRequests = 3
	// maxNaks bounds how often an exchange begins again.
	maxNaks = 3
)

// errTimeout is the cause of a context that has run into Options.Timeout.
var errTimeout = errors.New("timeout")

// wire is the interface's DHCP port.
type wire interface {
	send(dst net.HardwareAddr, from, to netip.Addr, message []byte) error
	receive(ctx context.Context, deadline time.Time) (message []byte, from net.HardwareAddr, err error)
}

// exchange is one acquisition: DISCOVER, OFFER, REQUEST, ACK (RFC 2131, section 3.1).
// It is used by one goroutine.
type exchange struct {
	wire      wire
	mac       net.HardwareAddr
	request   *request
	requested netip.Addr // option 50 of the DISCOVER; invalid: none
	log       *slog.Logger
	badFrame  func()

	start    time.Time
	bad      int // frames that could not be used
	lastText string
}

// offer is an OFFER that a REQUEST can be made from.
type offer struct {
	address netip.Addr
	server  netip.Addr
	xid     dhcpv4.TransactionID
	secs    uint16
}

// acquire runs until a lease is granted or ctx ends. Its errors wrap ErrNoOffer,
// ErrNoAck, ErrNak or ctx's cause.
func (x *exchange) acquire(ctx context.Context) (Lease, error) {
	x.start = time.Now()
	for naks := 1; ; {
		o, err := x.discover(ctx)
		if err != nil {
			return Lease{}, err
		}
		lease, err := x.confirm(ctx, o)
		switch {
		case err == nil:
			return lease, nil
		case errors.Is(err, ErrNak) && naks < maxNaks:
			naks++
		case errors.Is(err, ErrNoAck) && ctx.Err() == nil:
		default:
			return Lease{}, err
		}
	}
}

func (x *exchange) discover(ctx context.Context) (offer, error) {
	var o offer
	msg, err := x.message(dhcpv4.MessageTypeDiscover)
	if err != nil {
		return offer{}, err
	}
	if x.requested.IsValid() {
		setOption(msg, optRequestedIP, x.requested.AsSlice())
	}
	o.xid = msg.TransactionID
	err = x.converse(ctx, msg, 0, func(reply *dhcpv4.DHCPv4, _ net.HardwareAddr) (bool, error) {
		if reply.MessageType() != dhcpv4.MessageTypeOffer {
			return false, nil
		}
		l, err := parseLease(reply, time.Now(), x.request.wants)
		if err != nil {
			x.reject("OFFER", err)
			return false, nil
		}
		o.address, o.server, o.secs = l.Address.Addr(), l.Server, msg.NumSeconds
		return true, nil
	})
	if errors.Is(err, errTimeout) {
		return offer{}, fmt.Errorf("%w within %s%s", ErrNoOffer, time.Since(x.start).Round(time.Second), x.badFrames())
	}
	return o, err
}

func (x *exchange) confirm(ctx context.Context, o offer) (Lease, error) {
	msg, err := x.message(dhcpv4.MessageTypeRequest)
	if err != nil {
		return Lease{}, err
	}
	// The same seconds as in the DISCOVER (RFC 2131, section 3.1), and its transaction.
	msg.TransactionID, msg.NumSeconds = o.xid, o.secs
	setOption(msg, optRequestedIP, o.address.AsSlice())
	setOption(msg, optServerID, o.server.AsSlice())
	var lease Lease
	err = x.converse(ctx, msg, maxRequests, func(reply *dhcpv4.DHCPv4, from net.HardwareAddr) (bool, error) {
		if server, err := parseServer(reply); err != nil || server != o.server {
			return false, nil
		}
		switch reply.MessageType() {
		case dhcpv4.MessageTypeNak:
			return true, fmt.Errorf("%w: server %s%s", ErrNak, o.server, serverText(reply))
		case dhcpv4.MessageTypeAck:
		default:
			return false, nil
		}
		l, err := parseLease(reply, time.Now(), x.request.wants)
		if err == nil && l.Address.Addr() != o.address {
			err = fmt.Errorf("it grants %s, asked for was %s", l.Address.Addr(), o.address)
		}
		if err != nil {
			x.reject("ACK", err)
			return false, nil
		}
		lease, lease.ServerMAC = l, from.String()
		return true, nil
	})
	if errors.Is(err, errTimeout) {
		return Lease{}, fmt.Errorf("%w: server %s%s", ErrNoAck, o.server, x.badFrames())
	}
	return lease, err
}

// converse sends msg, and again with growing delays, until accept says that a reply
// is the one. After tries sendings (0: no limit), or when ctx has run into its
// timeout, the error is errTimeout; it is ctx's cause when ctx ended otherwise.
func (x *exchange) converse(ctx context.Context, msg *dhcpv4.DHCPv4, tries int,
	accept func(*dhcpv4.DHCPv4, net.HardwareAddr) (bool, error),
) error {
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	everybody := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	discover := msg.MessageType() == dhcpv4.MessageTypeDiscover
	for n, delay := 0, firstDelay; tries == 0 || n < tries; n, delay = n+1, min(2*delay, maxDelay) {
		if discover {
			msg.NumSeconds = uint16(time.Since(x.start) / time.Second)
		}
		// A full queue is a lost frame, which the next sending makes good.
		err := x.wire.send(broadcast, netip.IPv4Unspecified(), everybody, msg.ToBytes())
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("cannot send %s: %w", msg.MessageType(), err)
		}
		// Jitter keeps containers that started together from asking in step.
		again := time.Now().Add(delay + rand.N(delay/4) - delay/8)
		for {
			b, from, err := x.wire.receive(ctx, again)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("cannot receive: %w", err)
			}
			reply, err := parseMessage(b)
			if err != nil {
				x.reject("frame", err)
				continue
			}
			if reply.TransactionID != msg.TransactionID {
				continue
			}
			if done, err := accept(reply, from); done {
				return err
			}
		}
	}
	return errTimeout
}

// message has what every message of the client's to every server has.
func (x *exchange) message(kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	msg, err := newMessage(kind, x.mac, x.request.clientID)
	if err != nil {
		return nil, err
	}
	for _, o := range x.request.options {
		setOption(msg, o.Code, o.Value)
	}
	setOption(msg, optParameterList, x.request.codes)
	setOption(msg, optMaxMessageSize, []byte{maxMessage >> 8, maxMessage & 0xff})
	return msg, nil
}

func newMessage(kind dhcpv4.MessageType, mac net.HardwareAddr, clientID []byte) (*dhcpv4.DHCPv4, error) {
	msg, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind)) // with a random transaction id
	if err != nil {
		return nil, fmt.Errorf("cannot make a DHCP message: %w", err)
	}
	setOption(msg, optClientID, clientID)
	return msg, nil
}

func setOption(msg *dhcpv4.DHCPv4, code uint8, value []byte) { msg.Options[code] = value }

// reject counts a frame that could not be used. The first says why in the log; a
// flood adds nothing to it.
func (x *exchange) reject(what string, err error) {
	x.badFrame()
	x.bad++
	x.lastText = err.Error()
	if x.bad == 1 {
		x.log.Warn("unusable DHCP reply from the LAN ignored", "kind", what, "error", err)
	}
}

func (x *exchange) badFrames() string {
	if x.bad == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d unusable replies ignored, the last because: %s)", x.bad, x.lastText)
}

// serverText is the text of a NAK (option 56), printable and short.
func serverText(msg *dhcpv4.DHCPv4) string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(msg.Options[optMessage]))
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" says %q", text[:min(len(text), 100)])
}
