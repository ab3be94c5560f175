package server

import (
	"os"
	"strconv"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
)

// portMapping is an entry of CNI's capability portMappings (CNI conventions).
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// portMappings is the value of CNI's capability, ranges taken apart. It is asked for where the conflist has portmap, which gives the ports
// to the host's firewall as root: an ordinary user gets none that the kernel would
// not give them, here by number and in hostPorts by whose they are. Elsewhere the
// container has an address of its own, and its ports need no publishing.
func portMappings(ports []api.PortMapping, isRoot bool) ([]portMapping, error) {
	// Before they are taken apart: 1,024 ranges of all ports would be 67 million.
	total := 0
	for _, p := range ports {
		total += p.Range
	}
	if total > maxPortMappings {
		return nil, invalid("port_mappings", "at most %d ports in all, ranges included", maxPortMappings)
	}
	first := firstUserPort()
	entries := make([]portMapping, 0, total)
	for _, p := range ports {
		if p.HostPort < first && !isRoot {
			return nil, invalid("port_mappings", "host ports below %d are for root alone: publish on another one", first)
		}
		for i := range p.Range {
			entries = append(entries, portMapping{p.HostPort + i, p.ContainerPort + i, string(p.Protocol), p.HostIP})
		}
	}
	return entries, nil
}

// firstUserPort is the first port that an ordinary user may bind
// (ip_unprivileged_port_start, ip(7)).
func firstUserPort() int {
	const usual = 1024
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return usual
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return usual
	}
	return port
}
