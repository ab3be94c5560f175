package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// parents looks at the links that containers hang on, for what a daemon cannot see: who
// else is on the way to the LAN. Those that are gone or down `net-porter check` has told of.
func (e *examination) parents() {
	e.area = "LAN"
	e.bridges()
	parents := e.parentsOf()
	if len(parents) == 0 {
		return
	}
	links, err := netlink.LinkList()
	if err != nil {
		e.unknown("lan.shim", "cannot list the host's links: %v", err)
	}
	seen := map[string]bool{}
	var unreached []string // by the host
	macvlan := false
	for _, p := range parents {
		if seen[p.link] {
			continue
		}
		seen[p.link] = true
		link, err := netlink.LinkByName(p.link)
		if err != nil || !p.macvlan {
			continue
		}
		e.port(link, p)
		if !e.shim(links, link) {
			unreached = append(unreached, p.link)
		}
		macvlan = true
	}
	if len(unreached) > 0 {
		e.ok("lan.host", "this host itself does not reach containers on %s, nor they it: that is how macvlan is, and every other machine does. "+
			"If the host has to: ip link add lan-shim link %s type macvlan mode bridge; ip link set lan-shim up; ip route add ADDRESS/32 dev lan-shim",
			strings.Join(unreached, ", "), unreached[0])
	}
	if macvlan {
		e.machine()
	}
}

// port tells of a parent that is a port itself: it has one taker of what arrives there, and
// the kernel makes no macvlan beside that (EBUSY). A VRF is none (ip-link(8)).
func (e *examination) port(link netlink.Link, p parent) {
	attrs := link.Attrs()
	master, kind := "another link", ""
	if attrs.MasterIndex != 0 {
		if m, err := netlink.LinkByIndex(attrs.MasterIndex); err == nil {
			master, kind = m.Attrs().Name, m.Type()
		}
	}
	if attrs.MasterIndex == 0 || kind == "vrf" {
		e.ok("lan.parent", "%s (of resource %s) is %s", p.link, p.resource, attrs.OperState)
		return
	}
	e.add(Problem, "lan.port", fmt.Sprintf("%s (of resource %s) is a port of %s, so that Linux makes no macvlan on it (device or resource busy)", p.link, p.resource, master),
		fmt.Sprintf(`write "master": "%s" into the resource's network configuration`, master))
}

// shim looks among the host's links for a macvlan of its own on a parent, by which it reaches
// the containers.
func (e *examination) shim(links []netlink.Link, parent netlink.Link) bool {
	for _, l := range links {
		if l.Type() == "macvlan" && l.Attrs().ParentIndex == parent.Attrs().Index && l.Attrs().NetNsID < 0 {
			e.ok("lan.shim", "%s is a macvlan of the host's own on %s: with routes over it the host reaches the containers", l.Attrs().Name, parent.Attrs().Name)
			return true
		}
	}
	return false
}

// bridges tells of resources whose containers are ports of a bridge of the host, where
// frames may go through the host's own firewall.
func (e *examination) bridges() {
	if e.checked == nil || strings.TrimSpace(e.host.read("/proc/sys/net/bridge/bridge-nf-call-iptables")) != "1" {
		return
	}
	var resources []string
	for name, n := range e.checked.Networks {
		if slices.Contains(n.Types(), "bridge") {
			resources = append(resources, name)
		}
	}
	if len(resources) == 0 {
		return
	}
	slices.Sort(resources)
	e.add(Warning, "lan.filter", "what crosses the bridges of resource "+strings.Join(resources, ", ")+" goes through this host's iptables rules for forwarding (net.bridge.bridge-nf-call-iptables is 1), and Docker makes those drop all that it does not know",
		"sysctl net.bridge.bridge-nf-call-iptables=0, if nothing else needs it; or let it through: iptables -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT")
}
