// Package linkaddr owns looks at the IPv6 addresses of a link in a container's
// namespace, whose user may have put there as many as they like.
package linkaddr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Max bounds how many addresses of a namespace are looked at; no LAN gives a container
// more than a few.
const Max = 256

// ErrTooMany says that a namespace has more than Max IPv6 addresses.
var ErrTooMany = errors.New("there are too many IPv6 addresses in the namespace")

// Address is an IPv6 address of a link (rtnetlink(7), RTM_NEWADDR).
type Address struct {
	Prefix netip.Prefix
	Scope  uint8 // RT_SCOPE_UNIVERSE for global ones
	flags  uint32
}

// IsTentative says whether it is not to be used yet (RFC 4862, section 5.4).
func (a Address) IsTentative() bool {
	return a.flags&unix.IFA_F_TENTATIVE != 0 && a.flags&unix.IFA_F_OPTIMISTIC == 0
}

// IsDuplicate says whether the kernel has found another machine that has it.
func (a Address) IsDuplicate() bool { return a.flags&unix.IFA_F_DADFAILED != 0 }

// Socket asks for addresses in the namespace in which it was opened, from anywhere. It
// is used by one goroutine.
type Socket struct{ socket *nl.NetlinkSocket }

// Open must be called inside the namespace.
func Open() (*Socket, error) {
	socket, err := nl.GetNetlinkSocketAt(vnetns.None(), vnetns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	return &Socket{socket}, nil
}

// Close lets go of the namespace.
func (s *Socket) Close() { s.socket.Close() }

// List returns the IPv6 addresses of the link with an index. Where there are more than
// Max in the namespace it fails with ErrTooMany, beside those that it has seen, and
// leaves the kernel's answer unread: the socket then is of no more use.
func (s *Socket) List(index int) ([]Address, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfAddrmsg(unix.AF_INET6))
	if err := s.socket.Send(req); err != nil {
		return nil, fmt.Errorf("cannot list IPv6 addresses: %w", err)
	}
	var addrs []Address
	for seen := 0; ; {
		messages, _, err := s.socket.Receive()
		if err != nil {
			return addrs, fmt.Errorf("cannot list IPv6 addresses: %w", err)
		}
		for _, m := range messages {
			switch {
			case m.Header.Seq != req.Seq:
				continue
			case m.Header.Type == unix.NLMSG_DONE:
				return addrs, nil
			case m.Header.Type != unix.RTM_NEWADDR:
				return addrs, errors.New("cannot list IPv6 addresses: the kernel does not answer")
			}
			if seen++; seen > Max {
				return addrs, ErrTooMany
			}
			if a, link, ok := parse(m.Data); ok && link == index {
				addrs = append(addrs, a)
			}
		}
	}
}

// parse reads struct ifaddrmsg and its attributes.
func parse(body []byte) (a Address, link int, ok bool) {
	if len(body) < unix.SizeofIfAddrmsg {
		return Address{}, 0, false
	}
	attributes, err := nl.ParseRouteAttr(body[unix.SizeofIfAddrmsg:])
	if err != nil {
		return Address{}, 0, false
	}
	a.flags, a.Scope = uint32(body[2]), body[3]
	var ip netip.Addr
	for _, attr := range attributes {
		switch {
		case attr.Attr.Type == unix.IFA_ADDRESS && !ip.IsValid(), attr.Attr.Type == unix.IFA_LOCAL: // of two the local one
			ip, _ = netip.AddrFromSlice(attr.Value)
		case attr.Attr.Type == unix.IFA_FLAGS && len(attr.Value) == 4:
			a.flags = binary.NativeEndian.Uint32(attr.Value)
		}
	}
	a.Prefix = netip.PrefixFrom(ip, int(body[1]))
	return a, int(binary.NativeEndian.Uint32(body[4:])), ip.Is6() && a.Prefix.IsValid()
}
