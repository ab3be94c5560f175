package dhcp6

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// Limits of what a server can put into a reply; what exceeds them is left out.
const (
	maxAddrs  = 8  // addresses of the IA_NA, DNS and NTP servers each
	maxSearch = 16 // domains
)

// usable tells whether addr can be a host's own beyond its link: IPv6, and neither of
// ::/8, where the unspecified address, loopback and embedded IPv4 addresses are (RFC
// 4291, section 2.5), nor link-local, nor multicast.
func usable(addr netip.Addr) bool {
	return addr.Is6() && addr.Zone() == "" && addr.As16()[0] != 0 && addr.IsGlobalUnicast()
}

// parseAddrs reads a list of hosts. What is not a host's address is left out, link-local
// ones among it: they are of no use without the interface.
func parseAddrs(b []byte) []netip.Addr {
	var addrs []netip.Addr
	for ; len(b) >= 16 && len(addrs) < maxAddrs; b = b[16:] {
		if addr := netip.AddrFrom16([16]byte(b)); usable(addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// parseNTP reads the servers' addresses (suboption 1) of all NTP options (RFC 5908,
// section 4); multicast addresses and names are left out.
func parseNTP(values [][]byte) []netip.Addr {
	const unicast = 1
	var addrs []netip.Addr
	for _, v := range values {
		subs, err := parseOptions(v)
		if err != nil {
			continue
		}
		for _, sub := range subs.all(unicast) {
			if len(sub) == 16 && len(addrs) < maxAddrs {
				addrs = append(addrs, parseAddrs(sub)...)
			}
		}
	}
	return addrs
}

// parseSearch reads names as in DNS, without compression (RFC 8415, section 10). What
// follows a malformed name is left out, as is a name that is no domain.
func parseSearch(b []byte) []string {
	var names []string
	var labels []string
	for size := 0; len(b) > 0 && len(names) < maxSearch; {
		n := int(b[0])
		if n > grant.MaxLabelLen || n >= len(b) {
			break
		}
		if n > 0 {
			if size += n + 1; size > grant.MaxDomainLen+1 || bytes.IndexByte(b[1:1+n], '.') >= 0 {
				break
			}
			labels = append(labels, string(b[1:1+n]))
		} else {
			if name := strings.Join(labels, "."); grant.ValidDomain(name) {
				names = append(names, name)
			}
			labels, size = nil, 0
		}
		b = b[1+n:]
	}
	return names
}
