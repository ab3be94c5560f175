package server

import (
	"net"
	"net/netip"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/dhcp"
)

// attachmentOf puts a record into the API's words.
func attachmentOf(r *attachment.Record) api.Attachment {
	a := api.Attachment{
		ID: r.Key.String(), UID: int64(r.UID), User: r.User, Resource: r.Resource,
		ContainerID: r.ContainerID, ContainerName: r.Container, InterfaceName: r.Interface,
		State: api.AttachmentState(r.State), Created: r.Created,
	}
	if r.Result != nil {
		result := resultOf(r)
		a.Result = &result
	}
	return a
}

// resultOf puts a record's result into the API's words. Only the container's side
// is told: the host's links are not the caller's to know.
func resultOf(r *attachment.Record) api.AttachResult {
	result := api.AttachResult{
		Interfaces: []api.Interface{}, Ips: []api.IP{}, Routes: []api.Route{},
		DNS: api.DNS{Nameservers: []string{}, Search: []string{}},
	}
	if c := r.Result.CNI; c != nil {
		addCNI(&result, c)
	}
	if lease := r.Result.Lease; lease != nil {
		result.Lease = leaseOf(lease)
		// macvlan writes its own, mostly empty, "dns" over what DHCP said. What the
		// administrator wrote there wins; what they left out comes from the lease.
		if len(result.DNS.Nameservers) == 0 {
			for _, server := range lease.DNS {
				result.DNS.Nameservers = append(result.DNS.Nameservers, server.String())
			}
		}
		if result.DNS.Domain == "" {
			result.DNS.Domain = lease.Domain
		}
		if len(result.DNS.Search) == 0 {
			result.DNS.Search = append(result.DNS.Search, lease.Search...)
		}
	}
	// resolv.conf(5): without a search list, the domain is it.
	if len(result.DNS.Search) == 0 && result.DNS.Domain != "" {
		result.DNS.Search = append(result.DNS.Search, result.DNS.Domain)
	}
	return result
}

func addCNI(result *api.AttachResult, c *types100.Result) {
	inside := map[int]bool{}
	for i, link := range c.Interfaces {
		if link.Sandbox == "" {
			continue
		}
		inside[i] = true
		result.Interfaces = append(result.Interfaces, api.Interface{Name: link.Name, Mac: link.Mac, Mtu: link.Mtu})
	}
	for _, ip := range c.IPs {
		if ip.Interface != nil && !inside[*ip.Interface] {
			continue
		}
		result.Ips = append(result.Ips, api.IP{Address: ip.Address.String(), Gateway: text(ip.Gateway)})
	}
	for _, route := range c.Routes {
		result.Routes = append(result.Routes, api.Route{
			Destination: route.Dst.String(), Gateway: text(route.GW), Metric: route.Priority,
		})
	}
	result.DNS.Nameservers = append(result.DNS.Nameservers, c.DNS.Nameservers...)
	result.DNS.Domain = c.DNS.Domain
	result.DNS.Search = append(result.DNS.Search, c.DNS.Search...)
	result.DNS.Options = c.DNS.Options
}

func leaseOf(l *dhcp.Lease) *api.Lease {
	lease := &api.Lease{Server: l.Server.String(), Address: l.Address.String(), Acquired: l.Acquired}
	if !l.Expiry.IsZero() {
		lease.Expires = &l.Expiry
	}
	return lease
}

// text is an address, or the empty string for none; 0.0.0.0 as a gateway is none.
func text(ip net.IP) string {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || a.Unmap().IsUnspecified() {
		return ""
	}
	return a.Unmap().String()
}
