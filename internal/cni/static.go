package cni

import (
	"fmt"
	"net/netip"
	"slices"
)

// AddressError says that a network cannot give an address that was asked for, whoever
// asks: the configuration has no place for it. It is ErrNoSuchAddress to errors.Is.
type AddressError struct {
	Address netip.Addr
	Reason  string // goes on from the address
}

// Error names the address and the reason.
func (e *AddressError) Error() string { return e.Address.String() + " " + e.Reason }

// Unwrap makes an AddressError ErrNoSuchAddress.
func (e *AddressError) Unwrap() error { return ErrNoSuchAddress }

// WithStaticAddresses returns the network with addresses that its static and host-local
// IPAM plugins give to the container, each once. What the configuration says of prefix
// length, gateway and routes stays; so do addresses of a family of which none is asked
// for. With host-local an address may be another's by now, in which case ADD fails.
//
// It fails with an *AddressError if no plugin of the chain can give an address.
func (n *Network) WithStaticAddresses(ips []netip.Addr) (*Network, error) {
	var left []netip.Addr
	for _, ip := range ips {
		if ip = ip.Unmap(); !slices.Contains(left, ip) {
			left = append(left, ip)
		}
	}
	faults := map[netip.Addr]string{}
	derived := n.derive(func(i int, conf map[string]any) {
		ipam, ok := conf["ipam"].(map[string]any)
		if !ok {
			return
		}
		var given []netip.Addr
		switch n.chain[i].ipamType {
		case "static":
			given = setStatic(ipam, left, faults)
		case "host-local":
			given = requestLocal(conf, ipam, left, faults)
		}
		left = slices.DeleteFunc(left, func(ip netip.Addr) bool { return slices.Contains(given, ip) })
	})
	if len(left) == 0 {
		return derived, nil
	}
	reason := faults[left[0]]
	if reason == "" {
		reason = fmt.Sprintf("cannot be given: the network has no %s addresses of its own", family(left[0]))
	}
	return nil, &AddressError{left[0], reason}
}

func family(ip netip.Addr) string {
	if ip.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// setStatic puts addresses into the place of those of their family in the static
// plugin's configuration, each with what it says of the network that the address is in.
func setStatic(ipam map[string]any, ips []netip.Addr, faults map[netip.Addr]string) (given []netip.Addr) {
	configured, _ := ipam["addresses"].([]any)
	var addresses []any
	families := map[bool]bool{}
	for _, ip := range ips {
		template, fault := templateFor(ip, configured)
		if fault != "" {
			faults[ip] = fault
			continue
		}
		addresses, given = append(addresses, template), append(given, ip)
		families[ip.Is4()] = true
	}
	for _, value := range configured {
		entry, _ := value.(map[string]any)
		if p, err := netip.ParsePrefix(text(entry, "address")); err != nil || !families[p.Addr().Is4()] {
			addresses = append(addresses, value)
		}
	}
	if len(given) > 0 {
		ipam["addresses"] = addresses
	}
	return given
}

// templateFor makes of a configured address one with ip in its place.
func templateFor(ip netip.Addr, configured []any) (entry map[string]any, fault string) {
	for _, value := range configured {
		like, _ := value.(map[string]any)
		p, err := netip.ParsePrefix(text(like, "address"))
		if err != nil || !p.Contains(ip) {
			continue
		}
		gateway := text(like, "gateway")
		if fault := unusable(ip, p.Masked(), gateway); fault != "" {
			return nil, fault
		}
		entry := map[string]any{"address": netip.PrefixFrom(ip, p.Bits()).String()}
		if gateway != "" {
			entry["gateway"] = gateway
		}
		return entry, ""
	}
	return nil, "is in none of the networks whose addresses this one gives"
}

// unusable says what keeps an address from being a container's in its network.
func unusable(ip netip.Addr, network netip.Prefix, gateway string) string {
	g, err := netip.ParseAddr(gateway)
	switch {
	case err == nil && g == ip:
		return "is the gateway's own address"
	case ip.Is4() && network.Bits() < 31 && ip == network.Addr():
		return fmt.Sprintf("is the address of the network %s itself", network)
	case ip.Is4() && network.Bits() < 31 && !network.Contains(ip.Next()):
		return fmt.Sprintf("is the broadcast address of the network %s", network)
	}
	return ""
}

// requestLocal asks host-local for addresses (args.cni.ips, CNI conventions), which it
// gives or fails.
func requestLocal(conf, ipam map[string]any, ips []netip.Addr, faults map[netip.Addr]string) (given []netip.Addr) {
	within := ranges(ipam)
	var wanted []any
	for _, ip := range ips {
		if slices.ContainsFunc(within, func(r addrRange) bool { return r.contains(ip) }) {
			given, wanted = append(given, ip), append(wanted, ip.String())
		} else {
			faults[ip] = "is in none of the ranges from which this network gives addresses"
		}
	}
	if len(given) == 0 {
		return nil
	}
	args := child(conf, "args")
	cni := map[string]any(nil)
	if args != nil {
		cni = child(args, "cni")
	}
	if cni == nil || cni["ips"] != nil {
		for _, ip := range given {
			faults[ip] = "cannot be asked for: the network's configuration names addresses itself (args.cni.ips)"
		}
		return nil
	}
	cni["ips"] = wanted
	return given
}
