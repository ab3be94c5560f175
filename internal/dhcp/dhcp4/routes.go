package dhcp4

import (
	"net/netip"
	"slices"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// parseRoutes fills Routers and Routes from options 121, 33 and 3, as the package's
// documentation says. Routes are in an order in which each can be added: those on the
// link first, since gateways may lie behind them.
func parseRoutes(l *grant.Grant, opts func(uint8) []byte, wants func(uint8) bool) {
	var routes []grant.Route
	if classless := opts(OptClasslessRoutes); wants(OptClasslessRoutes) && len(classless) > 0 {
		routes = parseClasslessRoutes(classless)
	} else {
		if wants(OptStaticRoutes) {
			routes = parseStaticRoutes(opts(OptStaticRoutes))
		}
		if wants(OptRouters) {
			l.Routers = parseAddrs(opts(OptRouters))
		}
		if len(l.Routers) > 0 {
			gw := l.Routers[0]
			if !l.Address.Masked().Contains(gw) {
				// Where every host has a network of its own (a /32), the router is outside.
				routes = append(routes, grant.Route{Destination: netip.PrefixFrom(gw, 32), Gateway: netip.IPv4Unspecified()})
			}
			routes = append(routes, grant.Route{Destination: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: gw})
		}
	}
	l.Routes = usableRoutes(l.Address.Masked(), routes)
}

// usableRoutes drops what the kernel would refuse, which would fail the whole
// attachment: a destination twice or that of the prefix itself, a gateway that is
// not on the link, or that is no host of it.
func usableRoutes(link netip.Prefix, routes []grant.Route) []grant.Route {
	slices.SortStableFunc(routes, func(a, b grant.Route) int { return rank(a) - rank(b) })
	onLink := []netip.Prefix{link}
	seen := map[netip.Prefix]bool{link: true}
	var usable []grant.Route
	for _, r := range routes {
		if seen[r.Destination] {
			continue
		}
		if r.Gateway.IsUnspecified() {
			onLink = append(onLink, r.Destination)
		} else if isEdge(link, r.Gateway) ||
			!slices.ContainsFunc(onLink, func(p netip.Prefix) bool { return p.Contains(r.Gateway) }) {
			continue
		}
		seen[r.Destination] = true
		usable = append(usable, r)
	}
	return usable
}

// isEdge tells whether an address is its network's own or its broadcast address. In a
// /31 both addresses are hosts (RFC 3021), and a /32 has one.
func isEdge(p netip.Prefix, addr netip.Addr) bool {
	return p.Bits() < 31 && (addr == p.Masked().Addr() || addr == lastAddr(p))
}

func rank(r grant.Route) int {
	if r.Gateway.IsUnspecified() {
		return 0
	}
	return 1
}

// parseClasslessRoutes reads option 121 (RFC 3442): the mask's length, the
// destination's significant octets, the router. Reading ends at a malformed entry.
func parseClasslessRoutes(b []byte) []grant.Route {
	var routes []grant.Route
	for len(b) > 0 && len(routes) < maxRoutes {
		bits := int(b[0])
		octets := (bits + 7) / 8
		if bits > 32 || len(b) < 1+octets+4 {
			break
		}
		var dst [4]byte
		copy(dst[:], b[1:1+octets])
		gw := netip.AddrFrom4([4]byte(b[1+octets:]))
		b = b[1+octets+4:]
		routes = appendRoute(routes, netip.PrefixFrom(netip.AddrFrom4(dst), bits), gw)
	}
	return routes
}

// parseStaticRoutes reads option 33 (RFC 2132, section 5.8): pairs of destination and
// router, where the destination's class gives its mask and a host bit makes it a
// host's. A default route cannot be said this way.
func parseStaticRoutes(b []byte) []grant.Route {
	var routes []grant.Route
	for ; len(b) >= 8 && len(routes) < maxRoutes; b = b[8:] {
		dst, gw := netip.AddrFrom4([4]byte(b)), netip.AddrFrom4([4]byte(b[4:]))
		if !UsableHost(dst) || gw.IsUnspecified() {
			continue
		}
		bits := classBits(dst.As4()[0])
		if netip.PrefixFrom(dst, bits).Masked().Addr() != dst {
			bits = 32
		}
		routes = appendRoute(routes, netip.PrefixFrom(dst, bits), gw)
	}
	return routes
}

// classBits is the length of a network's prefix by its class (RFC 791, section 3.2).
func classBits(first byte) int {
	switch {
	case first < 128:
		return 8
	case first < 192:
		return 16
	}
	return 24
}

func appendRoute(routes []grant.Route, dst netip.Prefix, gw netip.Addr) []grant.Route {
	dst = dst.Masked()
	if dst.Bits() > 0 && !UsableHost(dst.Addr()) || !gw.IsUnspecified() && !UsableHost(gw) {
		return routes
	}
	return append(routes, grant.Route{Destination: dst, Gateway: gw})
}
