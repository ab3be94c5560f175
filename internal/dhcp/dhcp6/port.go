package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

const (
	clientPort = 546 // RFC 8415, section 7.2
	serverPort = 547
	// maxMessage is the longest message that is read: one Ethernet frame's IP packet.
	maxMessage = 1500
)

// servers is All_DHCP_Relay_Agents_and_Servers (RFC 8415, section 7.1).
func servers() netip.Addr { return netip.MustParseAddr("ff02::1:2") }

// port is UDP port 546 of an interface's link-local address.
type port struct {
	udp   *socket
	link  *link
	bound bool
	buf   [maxMessage]byte
}

// openPort must be called inside the interface's namespace. Nothing is received before
// ready.
func openPort(name string, index int) (*port, error) {
	l, err := openLink(name, index)
	if err != nil {
		return nil, err
	}
	p := &port{link: l}
	if p.udp, err = openSocket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP); err != nil {
		l.close()
		return nil, fmt.Errorf("cannot open a UDP socket: %w", err)
	}
	err = p.udp.control(func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), // see the package's documentation
			// A server that the container runs must not answer to the container.
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
		)
	})
	if err != nil {
		p.close()
		return nil, fmt.Errorf("cannot bind a UDP socket to %s: %w", name, err)
	}
	return p, nil
}

func (p *port) close() {
	p.udp.close()
	p.link.close()
}

func (p *port) ready(ctx context.Context) error {
	if p.bound {
		return nil
	}
	addr, err := p.link.waitLocal(ctx)
	if err != nil {
		return err
	}
	err = p.udp.control(func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrInet6{Port: clientPort, ZoneId: uint32(p.link.index), Addr: addr.As16()})
	})
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("cannot use UDP port %d of %s: %w: a DHCPv6 client inside the container has it for itself; it must run with SO_REUSEADDR or not at all",
			clientPort, p.link.name, err)
	case err != nil:
		return fmt.Errorf("cannot use UDP port %d of %s at %s: %w", clientPort, p.link.name, addr, portError(err))
	}
	p.bound = true
	return nil
}

func (p *port) send(message []byte) error {
	to := &unix.SockaddrInet6{Port: serverPort, ZoneId: uint32(p.link.index), Addr: servers().As16()}
	return portError(p.udp.send(message, to))
}

// receive leaves out what is too long or does not come from a server's port and address.
func (p *port) receive(ctx context.Context, deadline time.Time) (message []byte, from netip.Addr, err error) {
	for {
		n, sa, err := p.udp.receive(ctx, deadline, p.buf[:])
		if err != nil {
			return nil, netip.Addr{}, portError(err)
		}
		if in6, ok := sa.(*unix.SockaddrInet6); ok && n <= len(p.buf) && in6.Port == serverPort {
			if from := netip.AddrFrom16(in6.Addr); from.IsLinkLocalUnicast() || usable(from) {
				return p.buf[:n], from, nil
			}
		}
	}
}

func portError(err error) error {
	for _, gone := range []error{unix.ENETDOWN, unix.ENETUNREACH, unix.ENODEV, unix.ENXIO, unix.EADDRNOTAVAIL} {
		if errors.Is(err, gone) {
			return fmt.Errorf("%w: it or its link-local address went away during the exchange (%w)", grant.ErrLinkDown, err)
		}
	}
	return err
}
