package dhcp6

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// link is an interface whose link-local address is waited for.
type link struct {
	name    string
	index   int
	handle  *netlink.Handle
	changes *socket // rtnetlink(7), addresses
}

// openLink must be called inside the interface's namespace. The error says so when the
// interface will never have a link-local address.
func openLink(name string, index int) (*link, error) {
	l := &link{name: name, index: index}
	var err error
	if l.changes, err = openSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("cannot open netlink: %w", err)
	}
	err = l.changes.control(func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_IPV6_IFADDR - 1)})
	})
	if err != nil {
		l.changes.close()
		return nil, fmt.Errorf("cannot watch addresses: %w", err)
	}
	if l.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		l.changes.close()
		return nil, fmt.Errorf("cannot open netlink: %w", err)
	}
	if err := l.checkIPv6(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *link) close() {
	l.changes.close()
	l.handle.Close()
}

// local is the link-local address that the kernel would send from, or invalid. Whoever is
// root in the container can give an interface a million addresses: to ask for a route is
// to have the kernel look, and leaves tentative ones out.
func (l *link) local() netip.Addr {
	routes, err := l.handle.RouteGetWithOptions(servers().AsSlice(), &netlink.RouteGetOptions{OifIndex: l.index})
	if err != nil || len(routes) == 0 { // there is no route while IPv6 is down
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(routes[0].Src)
	if !addr.Is6() || !addr.IsLinkLocalUnicast() {
		return netip.Addr{}
	}
	return addr
}

// waitLocal waits until the interface has a link-local address that has passed duplicate
// address detection (RFC 4862, section 5.4), which takes the kernel 1 to 2 s. For its
// errors see Client.
func (l *link) waitLocal(ctx context.Context) (netip.Addr, error) {
	buf := make([]byte, 1<<16)
	for {
		// The subscription is older than this look, so no change is missed.
		if addr := l.local(); addr.IsValid() {
			return addr, nil
		}
		n, sa, err := l.changes.receive(ctx, time.Time{}, buf)
		switch {
		case ctx.Err() != nil:
			return netip.Addr{}, l.noLocal(ctx)
		case errors.Is(err, unix.ENOBUFS): // changes were lost, which is a reason to look again
		case err != nil:
			return netip.Addr{}, fmt.Errorf("cannot watch the addresses of %s: %w", l.name, err)
		default:
			// Only port 0 is the kernel (netlink(7)).
			if from, ok := sa.(*unix.SockaddrNetlink); ok && from.Pid == 0 {
				if addr, ok := duplicate(buf[:min(n, len(buf))], l.index); ok {
					return netip.Addr{}, fmt.Errorf("another machine on the LAN has %s's link-local address %s: have both the same MAC address?", l.name, addr)
				}
			}
		}
	}
}

func (l *link) noLocal(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, grant.ErrTimeout) {
		return cause
	}
	return fmt.Errorf("%w: %s has no link-local IPv6 address that is ready: is the host's parent interface up and its cable plugged in?",
		grant.ErrLinkDown, l.name)
}

// duplicate finds a link-local address of an interface in messages of rtnetlink(7) that
// failed duplicate address detection.
func duplicate(b []byte, index int) (netip.Addr, bool) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, m := range msgs {
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		msg := nl.DeserializeIfAddrmsg(m.Data)
		attrs, err := nl.ParseRouteAttrAsMap(m.Data[unix.SizeofIfAddrmsg:])
		if err != nil || int(msg.Index) != index {
			continue
		}
		addr, _ := netip.AddrFromSlice(attrs[unix.IFA_ADDRESS].Value)
		flags := attrs[unix.IFA_FLAGS].Value
		if addr.IsLinkLocalUnicast() && len(flags) == 4 && binary.NativeEndian.Uint32(flags)&unix.IFA_F_DADFAILED != 0 {
			return addr, true
		}
	}
	return netip.Addr{}, false
}
