package dhcp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// Limits of what a server can put into a lease; what exceeds them is left out.
const (
	maxAddrs  = 8  // routers, DNS and NTP servers each
	maxRoutes = 64 // of option 33 or 121
	maxSearch = 16 // domains of option 119
)

const (
	// assumedLeaseTime is for a server that names no lease time, against RFC 2131.
	assumedLeaseTime = time.Hour
	// minMask keeps a server from declaring most of the Internet to be on the link,
	// which would be a default route in disguise. A class A network has 8 bits.
	minMask = 8
	// minMTU is what IPv6 needs (RFC 8200, section 5): with less the kernel would switch it
	// off on the link. RFC 2132, section 5.1, would allow 68, which is an attack on whoever
	// follows it.
	minMTU = 1280
)

// parseMessage reads a BOOTREPLY. A panic of the decoder, whose input any host of
// the LAN can write, becomes an error.
func parseMessage(b []byte) (msg *dhcpv4.DHCPv4, err error) {
	defer recoverParse(&err)
	msg, err = dhcpv4.FromBytes(b)
	if err == nil && msg.OpCode != dhcpv4.OpcodeBootReply {
		return nil, errors.New("not a BOOTREPLY")
	}
	return msg, err
}

// parseGrant reads what an OFFER or ACK grants, as far as wants admits it.
func parseGrant(msg *dhcpv4.DHCPv4, wants func(code uint8) bool) (l grant.Grant, err error) {
	defer recoverParse(&err)
	opts := options(msg)

	if l.Server, err = parseServer(msg); err != nil {
		return grant.Grant{}, err
	}
	if l.Address, err = parseAddress(msg.YourIPAddr, opts(OptSubnetMask)); err != nil {
		return grant.Grant{}, err
	}
	if err := parseTimes(&l, opts); err != nil {
		return grant.Grant{}, err
	}
	l.DNS = parseAddrs(opts(OptDNS))
	l.Domain = parseDomain(opts(OptDomainName))
	l.Search = parseSearch(opts(OptDomainSearch))
	if wants(OptNTP) {
		l.NTP = parseAddrs(opts(OptNTP))
	}
	if v := opts(OptMTU); wants(OptMTU) && len(v) == 2 {
		if mtu := int(binary.BigEndian.Uint16(v)); mtu >= minMTU {
			l.MTU = mtu
		}
	}
	parseRoutes(&l, opts, wants)
	return l, nil
}

func recoverParse(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the frame made its parser panic: %v", p)
	}
}

// options returns a getter of a message's options; nil for one that is not there.
func options(msg *dhcpv4.DHCPv4) func(code uint8) []byte {
	return func(code uint8) []byte { return msg.Options[code] }
}

func parseServer(msg *dhcpv4.DHCPv4) (netip.Addr, error) {
	server, ok := netip.AddrFromSlice(msg.Options[OptServerID])
	if !ok || !UsableHost(server) {
		return netip.Addr{}, errors.New("no valid server identifier")
	}
	return server, nil
}

func parseAddress(yiaddr net.IP, mask []byte) (netip.Prefix, error) {
	addr, ok := netip.AddrFromSlice(yiaddr.To4())
	if !ok || !UsableHost(addr) {
		return netip.Prefix{}, fmt.Errorf("the address %s is not a host's", yiaddr)
	}
	if len(mask) == 0 {
		mask = yiaddr.DefaultMask()
	}
	bits, size := net.IPMask(mask).Size()
	if size != 32 || bits < minMask {
		return netip.Prefix{}, fmt.Errorf("the subnet mask %x is not usable", mask)
	}
	prefix := netip.PrefixFrom(addr, bits)
	if isEdge(prefix, addr) {
		return netip.Prefix{}, fmt.Errorf("the address %s is its network's own or its broadcast address", prefix)
	}
	return prefix, nil
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	last := binary.BigEndian.Uint32(b[:]) | uint32(math.MaxUint32>>p.Bits())
	binary.BigEndian.PutUint32(b[:], last)
	return netip.AddrFrom4(b)
}

// UsableHost tells whether addr can be a host's own: IPv4, and neither of "this
// network", loopback, multicast nor reserved (RFC 6890).
func UsableHost(addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	first := addr.As4()[0]
	return first != 0 && first != 127 && first < 224
}

// parseTimes reads lease time, T1 and T2. T1 and T2 that are missing or do not
// satisfy T1 < T2 < lease time become those of RFC 2131, section 4.4.5.
func parseTimes(l *grant.Grant, opts func(uint8) []byte) error {
	lease, ok := parseSeconds(opts(OptLeaseTime))
	switch {
	case !ok:
		lease = assumedLeaseTime
	case lease == 0:
		return errors.New("the lease time is zero")
	case lease == math.MaxUint32*time.Second: // infinity: RFC 2131, section 3.3
		return nil
	}
	t1, ok1 := parseSeconds(opts(OptT1))
	t2, ok2 := parseSeconds(opts(OptT2))
	if !ok2 || t2 >= lease || t2 == 0 {
		t2 = lease * 7 / 8
	}
	if !ok1 || t1 >= t2 || t1 == 0 {
		t1 = min(lease/2, t2)
	}
	l.T1, l.T2, l.Lifetime = t1, t2, lease
	return nil
}

func parseSeconds(b []byte) (time.Duration, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Second, true
}

// parseAddrs reads a list of hosts; what is not a host's address is left out.
func parseAddrs(b []byte) []netip.Addr {
	var addrs []netip.Addr
	for ; len(b) >= 4 && len(addrs) < maxAddrs; b = b[4:] {
		if addr := netip.AddrFrom4([4]byte(b)); UsableHost(addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// parseDomain reads option 15. Servers may end it with NUL (RFC 2132, section 2).
func parseDomain(b []byte) string {
	name := strings.TrimSuffix(strings.TrimRight(string(b), "\x00"), ".")
	if !grant.ValidDomain(name) {
		return ""
	}
	return name
}

// parseSearch reads option 119: names as in DNS, with compression (RFC 3397). A
// pointer goes backwards only, so that every name ends. What follows a malformed
// name is left out, as is a name that is no domain.
func parseSearch(b []byte) []string {
	var names []string
	for pos := 0; pos < len(b) && len(names) < maxSearch; {
		name, next, ok := parseName(b, pos)
		if !ok {
			break
		}
		pos = next
		if grant.ValidDomain(name) {
			names = append(names, name)
		}
	}
	return names
}

func parseName(b []byte, start int) (name string, next int, ok bool) {
	var labels []string
	pos, limit, size := start, start, 0
	for pos < len(b) {
		n := int(b[pos])
		switch {
		case n == 0:
			if next == 0 {
				next = pos + 1
			}
			return strings.Join(labels, "."), next, true
		case n&0xc0 == 0xc0:
			if pos+1 >= len(b) {
				return "", 0, false
			}
			if next == 0 {
				next = pos + 2
			}
			target := n&^0xc0<<8 | int(b[pos+1])
			if target >= limit {
				return "", 0, false
			}
			pos, limit = target, target
		case n > grant.MaxLabelLen || pos+1+n > len(b):
			return "", 0, false
		default:
			if size += n + 1; size > grant.MaxDomainLen+1 {
				return "", 0, false
			}
			label := string(b[pos+1 : pos+1+n])
			if strings.Contains(label, ".") {
				return "", 0, false
			}
			labels = append(labels, label)
			pos += 1 + n
		}
	}
	return "", 0, false
}
