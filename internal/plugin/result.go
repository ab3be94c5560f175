package plugin

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/netavark"
)

// statusBlock is what the daemon answered as netavark wants it. It fails where
// netavark would refuse the reply.
func statusBlock(interfaceName string, result *api.AttachResult) (*netavark.StatusBlock, error) {
	status := &netavark.StatusBlock{
		Interfaces:       make(map[string]netavark.Interface, len(result.Interfaces)),
		DNSServerIPs:     []string{},
		DNSSearchDomains: []string{},
	}
	for _, i := range result.Interfaces {
		if _, err := net.ParseMAC(i.Mac); err != nil {
			return nil, fmt.Errorf("the daemon answered the MAC address %.100q for %.100q, which is none", i.Mac, i.Name)
		}
		status.Interfaces[i.Name] = netavark.Interface{MACAddress: i.Mac, Subnets: []netavark.Subnet{}}
	}
	own, ok := status.Interfaces[interfaceName]
	if !ok {
		return nil, fmt.Errorf("the daemon answered without the interface %.100q", interfaceName)
	}
	for _, ip := range result.Ips {
		if _, err := netip.ParsePrefix(ip.Address); err != nil {
			return nil, fmt.Errorf("the daemon answered the address %.100q, which is none", ip.Address)
		}
		subnet := netavark.Subnet{IPNet: ip.Address}
		if isPlainAddress(ip.Gateway) {
			subnet.Gateway = ip.Gateway
		}
		own.Subnets = append(own.Subnets, subnet)
	}
	status.Interfaces[interfaceName] = own
	for _, server := range result.DNS.Nameservers {
		if isPlainAddress(server) {
			status.DNSServerIPs = append(status.DNSServerIPs, server)
		}
	}
	for _, domain := range searchDomains(&result.DNS) {
		if isResolvConfWord(domain) {
			status.DNSSearchDomains = append(status.DNSSearchDomains, domain)
		}
	}
	return status, nil
}

// isPlainAddress reports whether netavark can parse s, which knows no zones.
func isPlainAddress(s string) bool {
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Zone() == ""
}

// searchDomains is the search list; without one the own domain is it (resolv.conf(5)).
func searchDomains(dns *api.DNS) []string {
	if len(dns.Search) == 0 && dns.Domain != "" {
		return []string{dns.Domain}
	}
	return dns.Search
}

// isResolvConfWord keeps out what would break the line that podman writes it into.
func isResolvConfWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsGraphic(r)
	})
}
