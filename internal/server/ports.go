package server

import (
	"encoding/json"

	"github.com/net-porter/net-porter/internal/api"
)

// firstUserPort is the first port that an ordinary user may bind
// (ip_unprivileged_port_start, ip(7)).
const firstUserPort = 1024

// portMapping is an entry of CNI's capability portMappings (CNI conventions).
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// portMappings is the value of CNI's capability, ranges taken apart. It is asked for
// where the conflist has portmap, which gives the ports to the host's firewall as
// root: an ordinary user gets none that the kernel would not give them. Elsewhere
// the container has an address of its own, and its ports need no publishing.
func portMappings(ports []api.PortMapping, isRoot bool) (json.RawMessage, error) {
	var entries []portMapping
	for _, p := range ports {
		if p.HostPort < firstUserPort && !isRoot {
			return nil, invalid("port_mappings", "host ports below %d are for root alone: publish on another one", firstUserPort)
		}
		for i := range p.Range {
			entries = append(entries, portMapping{p.HostPort + i, p.ContainerPort + i, string(p.Protocol), p.HostIP})
		}
	}
	if len(entries) > maxPortMappings {
		return nil, invalid("port_mappings", "at most %d ports in all", maxPortMappings)
	}
	return json.Marshal(entries)
}
