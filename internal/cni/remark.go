package cni

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/net-porter/net-porter/internal/addrrange"
	"github.com/net-porter/net-porter/internal/nearest"
)

// Remark is what an administrator should know of a configuration that can be used.
type Remark struct {
	Line, Column int // from 1, column in characters; 0 if the place is not known
	Text         string
}

// Remarks says what is probably not meant: keys that the plugins pass over, where these
// are known, and parent links that are not named.
func (n *Network) Remarks() []Remark {
	tree, err := decodeTree(n.bytes)
	if err != nil {
		return nil
	}
	plugins, err := pluginTrees(tree)
	if err != nil {
		return nil
	}
	r := remarks{network: n}
	single := n.isSingle()
	if !single {
		r.unknown(nil, "", tree, listKeys())
	}
	for i, conf := range plugins {
		l, path := n.chain[i], []string{"plugins", strconv.Itoa(i)}
		if known := pluginKeys(l.pluginType); known != nil {
			if single {
				for name := range listKeys() {
					known[name] = nil
				}
			}
			r.unknown(path, l.pluginType, conf, known)
		}
		if ipam, ok := conf["ipam"].(map[string]any); ok {
			if known := ipamKeys(l.ipamType); known != nil {
				r.unknown(append(path, "ipam"), l.ipamType, ipam, known)
			}
		}
		if hasMaster := slices.Contains([]string{"macvlan", "ipvlan", "vlan"}, l.pluginType); hasMaster && l.master == "" && !l.inside {
			r.add(append(path, "type"), fmt.Sprintf(`%s has no "master": CNI takes the link of the host's default route, whichever that is by then`, l.pluginType))
		}
		if l.pluginType == "host-device" {
			r.add(append(path, "type"), "host-device takes back to the host whatever the container's root has put in the interface's place: give it to users whom you trust alone")
		}
	}
	return r.all
}

// isSingle tells the configuration of a single plugin from a list.
func (n *Network) isSingle() bool {
	tree, err := decodeTree(n.source)
	return err == nil && tree["plugins"] == nil
}

type remarks struct {
	network *Network
	all     []Remark
}

func (r *remarks) add(path []string, text string) {
	line, column := r.network.place(path)
	r.all = append(r.all, Remark{line, column, text})
}

// unknown remarks on the keys of an object that its plugin does not know, at any depth.
// Those that begin with '_' or '/' are somebody's comments.
func (r *remarks) unknown(path []string, plugin string, value any, known keysOf) {
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			r.unknown(append(slices.Clone(path), strconv.Itoa(i)), plugin, item, known)
		}
	case map[string]any:
		for _, key := range sortedKeys(v) {
			below := append(slices.Clone(path), key)
			inner, ok := known[key]
			switch {
			case ok && inner != nil:
				r.unknown(below, plugin, v[key], inner)
			case ok || strings.HasPrefix(key, "_") || strings.HasPrefix(key, "/") || key == "comment":
			case plugin == "dhcp" && strings.HasPrefix(strings.ToLower(key), "ip"): // the lease service refuses it
			default:
				r.add(below, unknownText(key, plugin, sortedKeys(known)))
			}
		}
	}
}

func unknownText(key, plugin string, known []string) string {
	who := "a list of plugins"
	if plugin != "" {
		who = "the plugin " + plugin
	}
	meant := nearest.Name(key, known)
	if strings.EqualFold(key, meant) {
		return fmt.Sprintf("the key %s must be written %q, although %s takes it: other programs do not", quoteName(key), meant, who)
	}
	text := fmt.Sprintf("%s has no key %s and passes over it", who, quoteName(key))
	if meant != "" {
		text += fmt.Sprintf(" (did you mean %q?)", meant)
	}
	return text
}

func sortedKeys[T any](of map[string]T) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Ranges are the addresses that the chain's static and host-local IPAM plugins can give to
// those who ask for one: of static plugins the networks of what they have.
func (n *Network) Ranges() []addrrange.IP {
	tree, err := decodeTree(n.bytes)
	if err != nil {
		return nil
	}
	plugins, err := pluginTrees(tree)
	if err != nil {
		return nil
	}
	var all []addrrange.IP
	for i, conf := range plugins {
		ipam, _ := conf["ipam"].(map[string]any)
		switch n.chain[i].ipamType {
		case "static":
			addresses, _ := ipam["addresses"].([]any)
			for _, value := range addresses {
				entry, _ := value.(map[string]any)
				all = append(all, rangeOf(map[string]any{"subnet": text(entry, "address")})...)
			}
		case "host-local":
			all = append(all, rangeOf(ipam)...)
		}
	}
	return all
}

// rangeOf reads what host-local may have.
func rangeOf(ipam map[string]any) []addrrange.IP {
	var all []addrrange.IP
	for _, r := range ranges(ipam) {
		whole, err := addrrange.ParseIP(r.subnet.String())
		if err != nil {
			continue
		}
		if r.first.IsValid() {
			whole.First = r.first
		}
		if r.last.IsValid() {
			whole.Last = r.last
		}
		all = append(all, whole)
	}
	return all
}
