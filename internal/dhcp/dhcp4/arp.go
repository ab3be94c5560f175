package dhcp4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// Answers to the first probe are waited for until probeWait after it was sent, and
// probeLeast after the ACK. A machine that is awake answers within a millisecond; the later
// probes find those that are not.
const (
	probeWait  = 5 * time.Millisecond
	probeLeast = time.Millisecond
	// maxLate is how many packets are looked at that are read after the deadline.
	maxLate = 64
)

// arpWire is the interface's ARP port.
type arpWire interface {
	// watch lets in what is said about an address from now on.
	watch(addr netip.Addr) error
	sendARP(packet []byte) error
	receiveARP(ctx context.Context, deadline time.Time) (packet []byte, err error)
}

// arpLen is an ARP packet for Ethernet and IPv4 (RFC 826).
const arpLen = 28

// arpRequest asks who has target. Sender 0.0.0.0 makes it a probe (RFC 5227, section
// 2.1.1), sender and target the same an announcement (section 2.3).
func arpRequest(mac net.HardwareAddr, sender, target netip.Addr) []byte {
	// Ethernet, IPv4, their lengths, request.
	packet := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	packet = append(append(packet, mac...), sender.AsSlice()...)
	return append(append(packet, make([]byte, len(mac))...), target.AsSlice()...)
}

// claims tells whether a packet says that addr is in use by a machine other than mac, and
// by which. RFC 5227, section 2.1.1, has a claim in another's probe, too: that is for
// addresses which machines choose. Of those to whom a DHCP server has offered the same
// one, which comes with containers that start together, the server chooses, and who is
// chosen must not decline for the others' sake.
func claims(packet []byte, mac net.HardwareAddr, addr netip.Addr) (net.HardwareAddr, bool) {
	if len(packet) < arpLen || !bytes.Equal(packet[:6], []byte{0, 1, 8, 0, 6, 4}) {
		return nil, false
	}
	who := net.HardwareAddr(bytes.Clone(packet[8:14]))
	// A frame of our own that some switch sends back is nobody else's claim.
	if bytes.Equal(who, mac) || who[0]&1 != 0 {
		return nil, false
	}
	return who, netip.AddrFrom4([4]byte(packet[14:18])) == addr
}

// Announce tells everybody on the LAN that addr is at this interface: machines remember
// for a while who had it before, and would not reach its new owner (RFC 2131, section
// 4.4.1; RFC 5227, section 2.3). The kernel announces only addresses that are there when
// the link comes up, which for DHCP it does before.
func (c *Client) Announce(addr netip.Addr) error {
	if err := c.wire.arp().sendARP(arpRequest(c.config.MAC, addr, addr)); err != nil {
		return fmt.Errorf("cannot announce %s: %w", addr, err)
	}
	return nil
}

// Probe asks once more whether another machine has an address that is in use here. It
// listens until wait is over. Errors wrap grant.ErrConflict or ctx's cause.
func (c *Client) Probe(ctx context.Context, addr netip.Addr, wait time.Duration) error {
	if err := c.sendProbe(addr); err != nil {
		return err
	}
	return c.awaitClaim(ctx, addr, time.Now().Add(wait))
}

func (c *Client) sendProbe(addr netip.Addr) error {
	arp := c.wire.arp()
	if err := arp.watch(addr); err != nil {
		return fmt.Errorf("cannot listen to ARP: %w", err)
	}
	if err := arp.sendARP(arpRequest(c.config.MAC, netip.IPv4Unspecified(), addr)); err != nil {
		return fmt.Errorf("cannot send an ARP probe: %w", err)
	}
	return nil
}

// beginProbe sends the first probe, and returns when its answers have had their time;
// zero if there is none to wait for. That it could not be sent is no reason to go without
// an address.
func (c *Client) beginProbe(addr netip.Addr) (until time.Time) {
	if !c.config.Probe {
		return time.Time{}
	}
	if err := c.sendProbe(addr); err != nil {
		c.config.Log.Warn("it was not checked whether another machine uses the address", "address", addr, "error", err)
		return time.Time{}
	}
	return time.Now().Add(probeWait)
}

// endProbe declines what was granted if another machine has said meanwhile that it has
// the address.
func (c *Client) endProbe(ctx context.Context, until time.Time, got grant.Grant) error {
	if until.IsZero() {
		return nil
	}
	if least := time.Now().Add(probeLeast); until.Before(least) {
		until = least
	}
	err := c.awaitClaim(ctx, got.Address.Addr(), until)
	if errors.Is(err, grant.ErrConflict) {
		err = errors.Join(err, c.Decline(ctx, got))
	}
	return err
}

func (c *Client) awaitClaim(ctx context.Context, addr netip.Addr, deadline time.Time) error {
	for late := 0; late < maxLate; {
		packet, err := c.wire.arp().receiveARP(ctx, deadline)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot listen to ARP: %w", err)
		}
		if !time.Now().Before(deadline) {
			late++
		}
		if who, ok := claims(packet, c.config.MAC, addr); ok {
			return fmt.Errorf("%w: %s is at %s", grant.ErrConflict, addr, who)
		}
	}
	return nil // of a flood, those that were in time are behind us
}

// arpPort is a packet socket (packet(7)) that carries ARP.
type arpPort struct{ packetSocket }

// watch binds the socket, which before that receives nothing.
func (p *arpPort) watch(addr netip.Addr) error {
	return p.receiveOnly(unix.ETH_P_ARP, arpFilter(addr))
}

func (p *arpPort) sendARP(packet []byte) error {
	return p.write(broadcastMAC(), unix.ETH_P_ARP, packet)
}

// receiveARP returns what has arrived by the deadline also after it: on a busy host, who
// waits may be given the processor late.
func (p *arpPort) receiveARP(ctx context.Context, deadline time.Time) ([]byte, error) {
	packet, _, err := p.read(ctx, deadline)
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		if queued, ok := p.queued(); ok {
			return queued, nil
		}
	}
	return packet, err
}
