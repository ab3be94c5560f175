package server

import (
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/dhcp"
)

// attachmentOf puts an attachment into the API's words.
func attachmentOf(v attachment.View) api.Attachment {
	a := api.Attachment{
		ID: v.Key.String(), UID: int64(v.UID), User: v.User, Resource: v.Resource,
		ContainerID: v.ContainerID, ContainerName: v.Container, InterfaceName: v.Interface,
		State: api.AttachmentState(v.State), Created: v.Created,
		AgeSeconds: int64(time.Since(v.Created).Seconds()),
	}
	if v.Result != nil {
		result := resultOf(v)
		a.Result = &result
	}
	if f := v.Failure; f != nil {
		a.Failure = &api.Failure{Error: f.Detail, Attempts: f.Attempts, LastTry: f.Last, NextTry: f.Next}
	}
	return a
}

// resultOf puts an attachment's result into the API's words. Only the container's side
// is told: the host's links are not the caller's to know.
func resultOf(v attachment.View) api.AttachResult {
	result := api.AttachResult{
		Interfaces: []api.Interface{}, Ips: []api.IP{}, Routes: []api.Route{},
		DNS: api.DNS{Nameservers: []string{}, Search: []string{}},
	}
	if v.CNI != nil {
		addCNI(&result, v.CNI)
	}
	for i := range v.Leases {
		addLease(&result, &v.Leases[i], v.Interface)
	}
	fillDNS(&result.DNS, v.Leases)
	return result
}

// fillDNS takes from leases what the conflist does not say. macvlan writes its own,
// mostly empty, "dns" over what DHCP said: what the administrator wrote there wins.
func fillDNS(dns *api.DNS, leases []dhcp.Status) {
	noServers, noSearch := len(dns.Nameservers) == 0, len(dns.Search) == 0
	for _, lease := range leases {
		if noServers {
			dns.Nameservers = append(dns.Nameservers, texts(lease.DNS)...)
		}
		if dns.Domain == "" {
			dns.Domain = lease.Domain
		}
		for _, domain := range lease.Search {
			if noSearch && !slices.Contains(dns.Search, domain) {
				dns.Search = append(dns.Search, domain)
			}
		}
	}
	// resolv.conf(5): without a search list, the domain is it.
	if len(dns.Search) == 0 && dns.Domain != "" {
		dns.Search = append(dns.Search, dns.Domain)
	}
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

// addLease adds a lease, and what it has changed of the interface.
func addLease(result *api.AttachResult, s *dhcp.Status, ifname string) {
	lease := &api.Lease{
		Server: s.Server.String(), Address: s.Address.String(), State: api.LeaseState(s.State),
		ClientID: hex.EncodeToString(s.ClientID()), Acquired: s.AcquiredWall,
		T1: moment(s.T1At), T2: moment(s.T2At), Expires: moment(s.Expiry), Mtu: s.MTU, Ntp: texts(s.NTP),
	}
	if s.Family == dhcp.IPv6 {
		result.LeaseIpv6 = lease
	} else {
		result.Lease = lease
	}
	for i := range result.Interfaces {
		if result.Interfaces[i].Name == ifname && s.MTU != 0 {
			result.Interfaces[i].Mtu = s.MTU
		}
	}
}

// moment is nil for no time at all.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func texts(addrs []netip.Addr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

// text is an address, or the empty string for none; 0.0.0.0 as a gateway is none.
func text(ip net.IP) string {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || a.Unmap().IsUnspecified() {
		return ""
	}
	return a.Unmap().String()
}
