package dhcp6

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes and values of linux/if_link.h and linux/ipv6.h that x/sys does not have.
const (
	inet6Conf        = 2  // IFLA_INET6_CONF
	inet6AddrGenMode = 8  // IFLA_INET6_ADDR_GEN_MODE
	devconfDisable   = 26 // DEVCONF_DISABLE_IPV6, index into IFLA_INET6_CONF
	addrGenNone      = 1  // IN6_ADDR_GEN_MODE_NONE
)

// checkIPv6 fails when the interface has no link-local address and the kernel will not
// give it one. It must be called inside the interface's namespace.
func (l *link) checkIPv6() error {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(l.index)
	req.AddData(msg)
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err == nil && len(msgs) != 1 {
		err = unix.ENODEV
	}
	if err != nil {
		return fmt.Errorf("cannot find interface %s: %w", l.name, err)
	}
	conf, mode := inet6(msgs[0])
	const stays = "DHCPv6 cannot be used; leave the sysctls of the container alone or do not ask for IPv6"
	switch {
	case len(conf) < 4*(devconfDisable+1):
		return fmt.Errorf("IPv6 is not available on %s: is its MTU below 1280, or IPv6 switched off in the kernel? %s", l.name, stays)
	case binary.NativeEndian.Uint32(conf[4*devconfDisable:]) != 0:
		return fmt.Errorf("IPv6 is disabled on %s (sysctl net.ipv6.conf.%s.disable_ipv6=1): %s", l.name, l.name, stays)
	case len(mode) == 1 && mode[0] == addrGenNone && !l.local().IsValid():
		return fmt.Errorf("%s has no link-local address and is set not to make one (sysctl net.ipv6.conf.%s.addr_gen_mode=1): %s", l.name, l.name, stays)
	}
	return nil
}

// inet6 finds the IPv6 settings in an RTM_NEWLINK message; nil where there are none.
func inet6(msg []byte) (conf, mode []byte) {
	if len(msg) < unix.SizeofIfInfomsg {
		return nil, nil
	}
	attrs := msg[unix.SizeofIfInfomsg:]
	for _, kind := range []uint16{unix.IFLA_AF_SPEC, unix.AF_INET6} {
		attrs = attribute(attrs, kind)
	}
	return attribute(attrs, inet6Conf), attribute(attrs, inet6AddrGenMode)
}

func attribute(b []byte, kind uint16) []byte {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil
	}
	for _, a := range attrs {
		if a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return a.Value
		}
	}
	return nil
}
