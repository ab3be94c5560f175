package dhcp4

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// OpenOnParent is Open for Attest alone, on the host's link that the client's interface
// hangs on. What whoever rules the interface's namespace makes up does not get there: see
// broadcastFilter.
func OpenOnParent(c Config) (*Client, error) {
	p, err := openHostPort(c.Index, c.MAC)
	if err != nil {
		return nil, err
	}
	return &Client{config: c, wire: p, start: time.Now()}, nil
}

// Attest asks the server that is said to have granted an address whether it has: it is the
// REQUEST for the server's offer once more, which others than that server leave alone. The
// answer is asked for by broadcast (RFC 2131, section 4.1). It asks until ctx ends; its
// errors wrap grant.ErrNoAck, ErrNak or ctx's cause.
func (c *Client) Attest(ctx context.Context, said grant.Grant) (grant.Grant, error) {
	msg, err := c.message(dhcpv4.MessageTypeRequest)
	if err != nil {
		return grant.Grant{}, err
	}
	msg.SetBroadcast()
	setOption(msg, OptRequestedIP, said.Address.Addr().AsSlice())
	setOption(msg, OptServerID, said.Server.AsSlice())
	return c.confirmed(ctx, broadcast(msg), said.Address.Addr(), said.Server)
}

// hostPort speaks on a link of the host's in the name of an interface that hangs on it.
type hostPort struct {
	in, out packetSocket
	mac     net.HardwareAddr
}

func openHostPort(index int, mac net.HardwareAddr) (*hostPort, error) {
	p := &hostPort{mac: mac}
	err := p.in.open(index)
	if err == nil {
		// With a link-layer header, as switches may drop what is not from the MAC that it
		// speaks for. Never bound, it receives nothing.
		if err = p.out.openAs(unix.SOCK_RAW, index); err == nil {
			err = p.in.receiveOnly(unix.ETH_P_IP, broadcastFilter(mac))
		}
	}
	if err != nil {
		p.close()
		return nil, socketError(err)
	}
	return p, nil
}

func (p *hostPort) close() {
	for _, s := range []*packetSocket{&p.in, &p.out} {
		if s.file != nil {
			s.close()
		}
	}
}

func (p *hostPort) arp() arpWire { return nil } // Attest has no use for it

func (p *hostPort) send(dst net.HardwareAddr, from, to netip.Addr, message []byte) error {
	frame := append(append(append([]byte{}, dst...), p.mac...), unix.ETH_P_IP>>8, unix.ETH_P_IP&0xff)
	return p.out.write(dst, unix.ETH_P_IP, append(frame, udpPacket(from, to, message)...))
}

func (p *hostPort) receive(ctx context.Context, deadline time.Time) (message []byte, from net.HardwareAddr, err error) {
	return receiveMessage(ctx, &p.in, deadline)
}

// broadcastFilter is dhcpFilter for what was broadcast on the LAN alone. A frame from one
// macvlan to another in mode "bridge" looks on their parent just as one from outside does
// (macvlan_queue_xmit hands it to the parent for its network taps), and anybody can make a
// second macvlan beside an own one, and set that mode. Broadcasts between macvlans do not
// pass the parent that way.
func broadcastFilter(mac net.HardwareAddr) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_BROADCAST, SkipTrue: 2},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, dhcpFilter(mac)...)
}
