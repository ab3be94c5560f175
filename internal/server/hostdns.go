package server

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
)

const (
	// maxResolvConf is how much of a resolv.conf is read, in bytes.
	maxResolvConf = 64 << 10
	// maxNameservers is how many of them a resolver asks (MAXNS, resolv.conf(5)).
	maxNameservers = 3
)

// hostDNS is the host's own resolver configuration. It stands in where a network names
// no name servers: podman would otherwise write an address of its own into the
// container's resolv.conf, which nobody answers on a LAN.
type hostDNS struct {
	paths []string // the first that names a server which a container can reach counts
}

// newHostDNS looks where the host's programs look, and behind the stub of
// systemd-resolved, which listens on the host's loopback alone.
func newHostDNS() hostDNS {
	return hostDNS{[]string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}}
}

// fill completes a result that has no name servers with the host's as they are now,
// and with the host's search domains if it has none of its own.
func (h hostDNS) fill(dns *api.DNS) {
	if len(dns.Nameservers) > 0 {
		return
	}
	for _, path := range h.paths {
		servers, search := readResolvConf(path)
		if len(servers) == 0 {
			continue
		}
		dns.Nameservers = servers
		if len(dns.Search) == 0 && search != nil {
			dns.Search = search
		}
		return
	}
}

// readResolvConf reads a resolv.conf(5): the servers that are not the host's loopback,
// and the search domains. A file that cannot be read has none.
func readResolvConf(path string) (servers, search []string) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil
	}
	defer file.Close()
	lines := bufio.NewScanner(io.LimitReader(file, maxResolvConf))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			// 0.0.0.0 is the host itself, and a zone is one of its links.
			ip, err := netip.ParseAddr(fields[1])
			if err == nil && !ip.IsLoopback() && !ip.IsUnspecified() && ip.Zone() == "" && len(servers) < maxNameservers {
				servers = append(servers, ip.String())
			}
		case "domain", "search": // the last one counts
			domains := fields[1:]
			if fields[0] == "domain" {
				domains = fields[1:2]
			}
			search = nil
			for _, domain := range domains {
				if domain = strings.TrimSuffix(domain, "."); validHostname(domain) {
					search = append(search, domain)
				}
			}
		}
	}
	return servers, search
}
