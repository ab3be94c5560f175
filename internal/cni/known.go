package cni

// keysOf are what an object of a configuration may hold: the plugins decode what they
// know and pass over the rest. An inner object or list of objects has keys of its own.
type keysOf map[string]keysOf

func keys(names ...string) keysOf {
	k := keysOf{}
	for _, name := range names {
		k[name] = nil
	}
	return k
}

func (k keysOf) and(name string, inner keysOf) keysOf {
	k[name] = inner
	return k
}

// listKeys are those of a list as a whole (CNI spec 1.1, section 1), and of a single
// plugin's configuration those that it has besides its plugin's.
func listKeys() keysOf {
	return keys("cniVersion", "cniVersions", "name", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "plugins")
}

// pluginKeys are the keys of the plugins that are known here (CNI plugins v1.9.1), and
// those that all plugins have; nil for another plugin.
func pluginKeys(pluginType string) keysOf {
	var own []string
	switch pluginType {
	case "macvlan":
		own = []string{"master", "mode", "mtu", "mac", "linkInContainer", "bcqueuelen"}
	case "ipvlan":
		own = []string{"master", "mode", "mtu", "linkInContainer"}
	case "vlan":
		own = []string{"master", "vlanId", "mtu", "linkInContainer"}
	case "bridge":
		own = []string{"bridge", "isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "ipMasqBackend", "mtu", "hairpinMode",
			"promiscMode", "vlan", "preserveDefaultVlan", "macspoofchk", "enabledad", "disableContainerInterface", "portIsolation"}
	case "host-device":
		own = []string{"device", "hwaddr", "kernelpath", "pciBusID"}
	case "tuning":
		own = []string{"dataDir", "sysctl", "mac", "promisc", "mtu", "txQLen", "allmulti"}
	case "sbr":
		own = []string{"table"}
	case "portmap":
		own = []string{"backend", "snat", "conditionsV4", "conditionsV6", "masqAll", "markMasqBit", "externalSetMarkChain"}
	default:
		return nil
	}
	k := keys(own...).and("dns", keys("nameservers", "domain", "search", "options"))
	for _, name := range []string{"cniVersion", "name", "type", "capabilities", "ipam", "args", "runtimeConfig"} {
		k[name] = nil
	}
	if pluginType == "bridge" {
		k["vlanTrunk"] = keys("minID", "maxID", "id")
	}
	return k
}

// ipamKeys are the keys of "ipam" of the plugins that are known here, nil for another.
func ipamKeys(ipamType string) keysOf {
	routes := keys("dst", "gw", "mtu", "advmss", "priority", "table", "scope")
	switch ipamType {
	case "static":
		return keys("type").and("routes", routes).and("addresses", keys("address", "gateway", "version")).
			and("dns", keys("nameservers", "domain", "search", "options"))
	case "host-local":
		within := keys("subnet", "rangeStart", "rangeEnd", "gateway")
		return keys("type", "dataDir", "resolvConf", "subnet", "rangeStart", "rangeEnd", "gateway").and("routes", routes).and("ranges", within)
	case "dhcp":
		// The last two are ours, and checked by the lease service.
		return keys("type", "daemonSocketPath", "priority", "ipv4", "ipv6").
			and("request", keys("skipDefault", "option")).and("provide", keys("option", "value", "fromArg"))
	}
	return nil
}
