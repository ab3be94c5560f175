package server

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
)

// The grammars of openapi/net-porter.yaml. What passes them may stand in a file
// name and in CNI_ARGS, where nothing is escaped.
var (
	containerIDPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)
	detachIDPattern    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,138}$`)
	namePattern        = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$`)
	interfacePattern   = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,15}$`)
	labelPattern       = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	macPattern         = regexp.MustCompile(`^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$`)
)

const (
	maxStaticIPs    = 16
	maxAliases      = 256
	maxAlias        = 253
	maxPortMappings = 1024
	maxHostname     = 253
	maxNetNS        = 4095 // PATH_MAX less the NUL
)

// attachInput is an attach request whose every value has been checked.
type attachInput struct {
	containerID, containerName string
	interfaceName, netns       string
	hostname                   string
	ips                        []netip.Addr
	mac                        net.HardwareAddr
	ports                      []api.PortMapping
}

// invalid is a problem with one value of a request.
func invalid(field, format string, args ...any) error {
	return newProblem(api.InvalidRequest, field+": "+fmt.Sprintf(format, args...))
}

// checkAttach checks an attach request.
func checkAttach(q api.AttachRequest) (*attachInput, error) {
	in := &attachInput{
		containerID: q.ContainerID, containerName: q.ContainerName,
		interfaceName: q.InterfaceName, netns: q.Netns, hostname: q.Hostname,
	}
	if !containerIDPattern.MatchString(q.ContainerID) {
		return nil, invalid("container_id", "must be 1 to 128 letters, digits, '_', '.' or '-' and begin with a letter or digit")
	}
	if q.ContainerName != "" && !namePattern.MatchString(q.ContainerName) {
		return nil, invalid("container_name", "must be at most 253 letters, digits, '_', '.' or '-' and begin with a letter or digit")
	}
	if q.Hostname != "" && !validHostname(q.Hostname) {
		return nil, invalid("hostname", "must be a host name (RFC 1123)")
	}
	if err := checkPlace(q.InterfaceName, q.Netns); err != nil {
		return nil, err
	}
	if len(q.Aliases) > maxAliases || slices.ContainsFunc(q.Aliases, func(a string) bool { return len(a) > maxAlias }) {
		return nil, invalid("aliases", "at most %d of at most %d bytes", maxAliases, maxAlias)
	}
	for name := range q.Options {
		return nil, invalid("options", "there is no option %.64q: this resource's settings are the administrator's", name)
	}
	var err error
	if in.ips, err = checkAddresses(q.StaticIps); err != nil {
		return nil, err
	}
	if q.StaticMac != "" {
		if in.mac, err = checkMAC(q.StaticMac); err != nil {
			return nil, err
		}
	}
	if in.ports, err = checkPorts(q.PortMappings); err != nil {
		return nil, err
	}
	return in, nil
}

// checkPlace checks where an interface is or is to be.
func checkPlace(name, netns string) error {
	if !interfacePattern.MatchString(name) || name == "." || name == ".." {
		return invalid("interface_name", "must be 1 to 15 letters, digits, '_', '.' or '-'")
	}
	if name == "lo" {
		return invalid("interface_name", "lo is the namespace's own loopback")
	}
	if !strings.HasPrefix(netns, "/") || len(netns) > maxNetNS || strings.ContainsRune(netns, 0) {
		return invalid("netns", "must be an absolute path of at most %d bytes", maxNetNS)
	}
	return nil
}

// checkDetach checks a detach request.
func checkDetach(q api.DetachRequest) error {
	if !detachIDPattern.MatchString(q.ContainerID) {
		return invalid("container_id", "must be letters, digits, '_', '.' or '-' and begin with a letter or digit")
	}
	netns := q.Netns
	if netns == "" {
		netns = "/" // it may be left out
	}
	return checkPlace(q.InterfaceName, netns)
}

func validHostname(name string) bool {
	if len(name) > maxHostname {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !labelPattern.MatchString(label) {
			return false
		}
	}
	return true
}

// checkAddresses parses static addresses; one that is given twice counts once, since
// `podman network reload` sends them so.
func checkAddresses(texts []string) ([]netip.Addr, error) {
	if len(texts) > maxStaticIPs {
		return nil, invalid("static_ips", "at most %d", maxStaticIPs)
	}
	var ips []netip.Addr
	for _, text := range texts {
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" {
			return nil, invalid("static_ips", "%.64q is not an IPv4 or IPv6 address", text)
		}
		ip = ip.Unmap()
		if ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
			return nil, invalid("static_ips", "%s is not an address that an interface can have", ip)
		}
		if !slices.Contains(ips, ip) {
			ips = append(ips, ip)
		}
	}
	return ips, nil
}

func checkMAC(text string) (net.HardwareAddr, error) {
	if !macPattern.MatchString(text) {
		return nil, invalid("static_mac", "must be six octets with colons, such as 02:00:00:aa:bb:cc")
	}
	mac, err := net.ParseMAC(text)
	if err != nil {
		return nil, invalid("static_mac", "%s", err)
	}
	if mac[0]&1 != 0 || slices.Max(mac) == 0 {
		return nil, invalid("static_mac", "%s is not the address of one interface", mac)
	}
	return mac, nil
}

// checkPorts checks port mappings and fills in what was left out.
func checkPorts(ports []api.PortMapping) ([]api.PortMapping, error) {
	if len(ports) > maxPortMappings {
		return nil, invalid("port_mappings", "at most %d", maxPortMappings)
	}
	checked := slices.Clone(ports)
	for i := range checked {
		p := &checked[i]
		if p.Range == 0 {
			p.Range = 1
		}
		if p.Protocol == "" {
			p.Protocol = api.TCP
		}
		last := p.Range - 1
		switch {
		case !p.Protocol.Valid():
			return nil, invalid("port_mappings", "protocol must be tcp, udp or sctp")
		case p.Range < 1 || !isPort(p.ContainerPort) || !isPort(p.HostPort) || p.Range > 65535 ||
			!isPort(p.ContainerPort+last) || !isPort(p.HostPort+last): // each is small enough to be added by now
			return nil, invalid("port_mappings", "ports are 1 to 65535, ranges included")
		}
		if p.HostIP != "" {
			ip, err := netip.ParseAddr(p.HostIP)
			if err != nil || ip.Zone() != "" {
				return nil, invalid("port_mappings", "host_ip %.64q is not an IPv4 or IPv6 address", p.HostIP)
			}
		}
	}
	return checked, nil
}

func isPort(n int) bool { return n >= 1 && n <= 65535 }
