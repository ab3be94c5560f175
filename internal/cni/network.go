// Package cni owns the network configurations (conflists) of resources and the
// running of CNI plugins on them.
//
// libcni builds what each plugin is given and keeps the results of ADD; finding
// and running a plugin is this package's own, so that a run is a process group
// with a deadline, a clean environment and bounded output. Calls for the same
// container and interface must not overlap; all others may.
package cni

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

// Network is an immutable, checked network configuration list (CNI spec 1.1,
// section 1): what an administrator wrote for one resource.
type Network struct {
	// Name is the resource's name. The network's own name, which plugins see, is
	// CNIName.
	Name string

	bytes []byte
	list  *libcni.NetworkConfigList
	chain []link
	// dhcpSocket is the path that WithDHCPSocket wrote, "" before.
	dhcpSocket string
	// settings are those of WithSettings, nil before.
	settings *Settings
	// file is the path that Load has read, and source what was in it.
	file   string
	source []byte
}

// link is what this package needs to know of one plugin of the chain.
type link struct {
	pluginType string
	ipamType   string
	// dhcpSocket is ipam.daemonSocketPath.
	dhcpSocket string
	// master is the link in the host's namespace that the plugin takes, "" if none is named.
	master string
	// mode is macvlan's, "" if none is named.
	mode string
	// setsMAC: it changes the MAC of the link that another plugin has made.
	setsMAC bool
	// inside: "linkInContainer" has the plugin look for its master in the container.
	inside bool
}

// Bytes returns the configuration as a JSON list in canonical form: keys sorted,
// no white space, a single plugin made into a list, every key and the exact digits
// of every number of the administrator kept. Parse takes it back. The caller owns
// the slice.
func (n *Network) Bytes() []byte { return bytes.Clone(n.bytes) }

// CNIName returns the list's "name", under which plugins keep what they allocate.
func (n *Network) CNIName() string { return n.list.Name }

// Types returns the plugins of the chain in the order of ADD.
func (n *Network) Types() []string {
	types := make([]string, len(n.chain))
	for i, l := range n.chain {
		types[i] = l.pluginType
	}
	return types
}

// IPAMTypes returns the IPAM plugins that the chain names, in its order and each once.
func (n *Network) IPAMTypes() []string {
	var types []string
	for _, l := range n.chain {
		if l.ipamType != "" && !slices.Contains(types, l.ipamType) {
			types = append(types, l.ipamType)
		}
	}
	return types
}

// Masters returns the names of the host's links that the chain needs to be there:
// the master of macvlan, ipvlan and vlan, the device of host-device. Each once.
func (n *Network) Masters() []string {
	var masters []string
	for _, l := range n.chain {
		if l.master != "" && !slices.Contains(masters, l.master) {
			masters = append(masters, l.master)
		}
	}
	return masters
}

// HasCapability reports whether a plugin of the chain declares the capability
// (CNI conventions, "Dynamic Plugin specific fields"), so that an entry of
// Invocation.CapabilityArgs reaches it.
func (n *Network) HasCapability(name string) bool {
	return slices.ContainsFunc(n.list.Plugins, func(p *libcni.PluginConfig) bool {
		return p.Network.Capabilities[name]
	})
}

// UsesDHCP reports whether addresses come from DHCP through our own lease service:
// a plugin has ipam.type "dhcp" and the administrator named no other daemon's socket.
func (n *Network) UsesDHCP() bool {
	return len(n.DHCPConfigs()) > 0
}

// DHCPConfigs returns the configurations of the plugins whose addresses come from DHCP
// through our own lease service, as they are handed to it.
func (n *Network) DHCPConfigs() [][]byte {
	var configs [][]byte
	for i, l := range n.chain {
		if l.ipamType == "dhcp" && (l.dhcpSocket == "" || l.dhcpSocket == n.dhcpSocket) {
			configs = append(configs, n.list.Plugins[i].Bytes)
		}
	}
	return configs
}

// masterOf names the host's link that a plugin takes as its parent, and says whether it
// looks for that in the container.
func masterOf(pluginType string, conf map[string]any) (name string, inside bool) {
	switch pluginType {
	case "macvlan", "ipvlan", "vlan":
		if inside, _ := folded(conf, "linkInContainer").(bool); inside {
			return "", true
		}
		name, _ = folded(conf, "master").(string)
	case "host-device":
		name, _ = folded(conf, "device").(string)
	}
	return name, false
}

// folded is the value of a key in whatever case: plugins are written in Go, whose JSON
// decoder passes over that.
func folded(conf map[string]any, key string) any {
	if value, ok := conf[key]; ok {
		return value
	}
	for other, value := range conf {
		if strings.EqualFold(other, key) {
			return value
		}
	}
	return nil
}

// encode writes a configuration in canonical form.
func encode(tree map[string]any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
