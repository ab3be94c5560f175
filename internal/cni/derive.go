package cni

import (
	"net/netip"
	"slices"
)

// WithDHCPSocket returns the network with ipam.daemonSocketPath set to path in
// every plugin whose ipam.type is "dhcp", so that leases come from our service. A
// path that the administrator wrote is kept: they run a daemon of their own.
//
// Keep the network as it was loaded, and apply this right before each Add, Del and
// Check: once written, a socket of an earlier configuration of ours cannot be told
// from one of the administrator's.
func (n *Network) WithDHCPSocket(path string) *Network {
	derived := n.derive(func(i int, conf map[string]any) {
		ipam, ok := conf["ipam"].(map[string]any)
		if ok && n.chain[i].ipamType == "dhcp" && n.chain[i].dhcpSocket == "" {
			ipam["daemonSocketPath"] = path
		}
	})
	derived.dhcpSocket = path
	return derived
}

// WithAddressHints returns the network with the addresses requested from host-local
// (args.cni.ips, CNI conventions), so that a container gets again what it had. An
// address outside the plugin's ranges is left out, as is one given twice: host-local
// fails on either. It also fails on an address that somebody else has by now; then
// ADD without hints. What the administrator wrote there is kept.
func (n *Network) WithAddressHints(ips []netip.Addr) *Network {
	return n.derive(func(i int, conf map[string]any) {
		ipam, ok := conf["ipam"].(map[string]any)
		if !ok || n.chain[i].ipamType != "host-local" {
			return
		}
		hints := hintsWithin(ips, ranges(ipam))
		if len(hints) == 0 {
			return
		}
		args := child(conf, "args")
		if args == nil {
			return
		}
		if cni := child(args, "cni"); cni != nil && cni["ips"] == nil {
			cni["ips"] = hints
		}
	})
}

// derive copies the network and lets change edit each plugin's object of the copy.
func (n *Network) derive(change func(i int, conf map[string]any)) *Network {
	tree, err := decodeTree(n.bytes)
	if err != nil {
		return n // bytes that build has made are read back
	}
	plugins, err := pluginTrees(tree)
	if err != nil {
		return n
	}
	for i, conf := range plugins {
		change(i, conf)
	}
	derived, err := build(n.Name, tree)
	if err != nil {
		return n
	}
	derived.dhcpSocket, derived.settings = n.dhcpSocket, n.settings
	return derived
}

// child returns the object under key, made if it is not there, nil if something
// else is.
func child(object map[string]any, key string) map[string]any {
	if object[key] == nil {
		object[key] = map[string]any{}
	}
	found, _ := object[key].(map[string]any)
	return found
}

// addrRange is one range of host-local, inclusive.
type addrRange struct {
	subnet      netip.Prefix
	first, last netip.Addr // not valid: the subnet's own
}

func (r addrRange) contains(ip netip.Addr) bool {
	return r.subnet.Contains(ip) &&
		(!r.first.IsValid() || r.first.Compare(ip) <= 0) &&
		(!r.last.IsValid() || ip.Compare(r.last) <= 0)
}

// ranges reads both spellings of host-local: subnet at the top, and ranges.
func ranges(ipam map[string]any) []addrRange {
	objects := []any{ipam}
	sets, _ := ipam["ranges"].([]any)
	for _, set := range sets {
		more, _ := set.([]any)
		objects = append(objects, more...)
	}
	var found []addrRange
	for _, object := range objects {
		fields, _ := object.(map[string]any)
		subnet, err := netip.ParsePrefix(text(fields, "subnet"))
		if err != nil {
			continue
		}
		// A bound that is absent or malformed leaves the subnet as the bound.
		first, _ := netip.ParseAddr(text(fields, "rangeStart"))
		last, _ := netip.ParseAddr(text(fields, "rangeEnd"))
		found = append(found, addrRange{subnet.Masked(), first, last})
	}
	return found
}

func text(object map[string]any, key string) string {
	s, _ := object[key].(string)
	return s
}

func hintsWithin(ips []netip.Addr, ranges []addrRange) []any {
	var hints []any
	for _, ip := range ips {
		ip = ip.Unmap()
		inside := slices.ContainsFunc(ranges, func(r addrRange) bool { return r.contains(ip) })
		if inside && !slices.Contains(hints, any(ip.String())) {
			hints = append(hints, ip.String())
		}
	}
	return hints
}
