package plugin

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/netavark"
)

// The API's limits (openapi/net-porter.yaml), lengths in bytes.
const (
	maxName    = 253
	maxNetns   = 4095
	maxAliases = 256
)

// attachRequest is the container as the API wants it. Names that podman allows and
// the API does not are left out where a container can do without them; everything
// that the user asked for by hand is passed on, for the daemon to grant or refuse.
func attachRequest(netns string, exec *netavark.Exec) api.AttachRequest {
	opts := &exec.NetworkOptions
	request := api.AttachRequest{
		ContainerID:   exec.ContainerID,
		InterfaceName: opts.InterfaceName,
		Netns:         netns,
		Hostname:      hostname(exec.ContainerID, opts.Aliases),
		StaticIps:     distinctAddresses(opts.StaticIPs),
		StaticMac:     opts.StaticMAC,
		Aliases:       aliases(opts.Aliases),
		PortMappings:  portMappings(exec.PortMappings),
		Options:       opts.Options,
	}
	if isContainerName(exec.ContainerName) {
		request.ContainerName = exec.ContainerName
	}
	return request
}

// hostname finds `podman run --hostname`, which has no field of its own: podman
// puts it behind the short container id, which comes after all other aliases.
func hostname(containerID string, aliases []string) string {
	const shortID = 12
	n := len(aliases)
	if n < 2 || len(containerID) < shortID || aliases[n-2] != containerID[:shortID] || !isHostname(aliases[n-1]) {
		return ""
	}
	return aliases[n-1]
}

// isHostname reports whether s is a host name of RFC 1123, section 2.1.
func isHostname(s string) bool {
	if len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Contains(label, "_") || !isName(label) {
			return false
		}
	}
	return true
}

// isContainerName reports whether s is what podman, and the API, call a container's name.
func isContainerName(s string) bool {
	return s != "" && len(s) <= maxName && isName(s) && !strings.ContainsRune("_.-", rune(s[0]))
}

func aliases(all []string) []string {
	var kept []string
	for _, a := range all {
		if len(kept) < maxAliases && isContainerName(a) && !slices.Contains(kept, a) {
			kept = append(kept, a)
		}
	}
	return kept
}

// distinctAddresses drops repetitions: `podman network reload` sends every address twice.
func distinctAddresses(all []string) []string {
	var kept []string
	seen := make(map[netip.Addr]bool, len(all))
	for _, s := range all {
		addr, err := netip.ParseAddr(s)
		if err == nil {
			addr = addr.Unmap()
			if seen[addr] {
				continue
			}
			seen[addr] = true
		}
		kept = append(kept, s)
	}
	return kept
}

// portMappings splits podman's lists of protocols, which the API does not have.
func portMappings(all []netavark.PortMapping) []api.PortMapping {
	var mapped []api.PortMapping
	for _, m := range all {
		for protocol := range strings.SplitSeq(m.Protocol, ",") {
			one := api.PortMapping{
				ContainerPort: m.ContainerPort,
				HostIP:        m.HostIP,
				HostPort:      m.HostPort,
				Protocol:      api.PortMappingProtocol(strings.ToLower(strings.TrimSpace(protocol))),
			}
			if m.Range > 1 {
				one.Range = m.Range
			}
			mapped = append(mapped, one)
		}
	}
	return mapped
}
