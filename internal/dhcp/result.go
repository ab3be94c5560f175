package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"
)

// resultOf is the leases of an interface as CNI's IPAM result (CNI spec 1.0, section 5):
// the addresses, the routes to be added, and what resolv.conf needs.
func resultOf(leases []Lease) (*current.Result, error) {
	r := &current.Result{CNIVersion: current.ImplementedSpecVersion}
	for i := range leases {
		l := &leases[i]
		if l.Expired {
			return nil, fmt.Errorf("%w: it was %s", ErrExpired, l.Address)
		}
		l.addTo(r)
	}
	return r, nil
}

func (l *Lease) addTo(r *current.Result) {
	r.IPs = append(r.IPs, &current.IPConfig{Address: ipNet(l.Address), Gateway: l.gateway()})
	for _, addr := range l.DNS {
		r.DNS.Nameservers = append(r.DNS.Nameservers, addr.String())
	}
	if r.DNS.Domain == "" {
		r.DNS.Domain = l.Domain
	}
	for _, domain := range l.Search {
		if !slices.Contains(r.DNS.Search, domain) {
			r.DNS.Search = append(r.DNS.Search, domain)
		}
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

// CNI is the lease as CNI's IPAM result, whether or not it has expired.
func (l *Lease) CNI() *current.Result {
	r := &current.Result{CNIVersion: current.ImplementedSpecVersion}
	l.addTo(r)
	return r
}
