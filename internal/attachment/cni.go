package attachment

import (
	"encoding/json"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/netns"
)

// invocation is what the record's plugins are run for. Without a namespace it suits DEL only.
func (r *Record) invocation(ns *netns.Namespace) cni.Invocation {
	inv := cni.Invocation{
		ContainerID: r.CNIContainerID(), Interface: r.Interface, Args: r.Args,
	}
	if ns != nil {
		inv.NetNS = ns.Path()
	}
	if len(r.Ports) > 0 {
		inv.CapabilityArgs = map[string]any{"portMappings": json.RawMessage(r.Ports)}
	}
	return inv
}
