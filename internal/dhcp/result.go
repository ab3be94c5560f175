package dhcp

import (
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"
)

// result is the lease as CNI's IPAM result (CNI spec 1.0, section 5): the address,
// the routes to be added, and what resolv.conf needs.
func (l *Lease) result() *current.Result {
	r := &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		IPs:        []*current.IPConfig{{Address: ipNet(l.Address), Gateway: l.gateway()}},
		DNS:        types.DNS{Domain: l.Domain, Search: l.Search},
	}
	for _, addr := range l.DNS {
		r.DNS.Nameservers = append(r.DNS.Nameservers, addr.String())
	}
	for _, route := range l.Routes {
		dst := &types.Route{Dst: ipNet(route.Destination), GW: route.Gateway.AsSlice(), Priority: l.Priority}
		if route.Gateway.IsUnspecified() {
			// Without a gateway of its own the plugin would take the default one.
			scope := unix.RT_SCOPE_LINK
			dst.Scope = &scope
		}
		r.Routes = append(r.Routes, dst)
	}
	return r
}

// gateway is that of the default route, nil without one.
func (l *Lease) gateway() net.IP {
	for _, r := range l.Routes {
		if r.Destination.Bits() == 0 && !r.Gateway.IsUnspecified() {
			return r.Gateway.AsSlice()
		}
	}
	return nil
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
