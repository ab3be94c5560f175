// Package addrrange owns ranges of IP and MAC addresses: how they are written, and what
// they hold.
package addrrange

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// IP is a range of IP addresses of one family, from First to Last, both in it.
type IP struct{ First, Last netip.Addr }

// ParseIP reads "192.0.2.64/28", "192.0.2.100-192.0.2.120", "192.0.2.7" or the same of
// IPv6 (RFC 4291, section 2.2). A prefix holds all of its addresses. What is written in
// more than one way that one might mean is an error: bits beyond a prefix's length,
// zones, IPv4 addresses in IPv6's notation.
func ParseIP(text string) (IP, error) {
	if strings.Contains(text, "/") {
		return parsePrefix(text)
	}
	from, to, isRange := strings.Cut(text, "-")
	first, err := parseAddr(from)
	if err != nil {
		return IP{}, err
	}
	if !isRange {
		return IP{first, first}, nil
	}
	last, err := parseAddr(to)
	switch {
	case err != nil:
		return IP{}, err
	case first.Is4() != last.Is4():
		return IP{}, fmt.Errorf("%s and %s are not of one family", first, last)
	case last.Less(first):
		return IP{}, fmt.Errorf("%s comes after %s: did you mean %[2]s-%[1]s?", first, last)
	}
	return IP{first, last}, nil
}

func parsePrefix(text string) (IP, error) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return IP{}, fmt.Errorf("%.64q is not a network, such as 192.0.2.64/28 or 2001:db8::/64", text)
	case p.Addr().Is4In6():
		return IP{}, errMapped
	case p != p.Masked():
		return IP{}, fmt.Errorf("%s is an address within the network %s: write that, or the address alone", p, p.Masked())
	}
	return IP{p.Addr(), lastOf(p)}, nil
}

var errMapped = errors.New("write an IPv4 address as such, not in IPv6's notation")

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%.64q is neither an address, such as 192.0.2.7 or 2001:db8::7, nor a range of them, such as 192.0.2.64/28 or 192.0.2.100-192.0.2.120", text)
	case a.Is4In6():
		return netip.Addr{}, errMapped
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%.64q has a zone, which says nothing in a container", text)
	}
	return a, nil
}

// lastOf is the address of a prefix with all other bits set.
func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// Contains says whether an address is in the range. One of IPv4 never is in a range of
// IPv6, nor the other way round.
func (r IP) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && !a.Less(r.First) && !r.Last.Less(a)
}

// Overlaps says whether two ranges have an address in common.
func (r IP) Overlaps(other IP) bool {
	return r.First.BitLen() == other.First.BitLen() && !other.Last.Less(r.First) && !r.Last.Less(other.First)
}

// String writes the range as ParseIP reads it, with both ends.
func (r IP) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}
