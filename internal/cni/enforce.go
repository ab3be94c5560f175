package cni

import (
	"fmt"
	"slices"
)

// Enforceable says why what containers of the network send cannot be enforced on its
// parent link, in words for the administrator who has asked for it; nil if it can. The
// parent is then the one of Masters.
func (n *Network) Enforceable() error {
	made := 0
	for _, l := range n.chain {
		switch {
		case l.setsMAC:
			return fmt.Errorf(`"enforce" needs to know the MAC before the plugins run, and %s sets another: remove its "mac"`, l.pluginType)
		case !slices.Contains(makers, l.pluginType):
			continue
		case l.pluginType != "macvlan":
			return fmt.Errorf(`"enforce" works with macvlan alone: the link that %s makes has no MAC of its own on a parent of the host's, or no parent`, l.pluginType)
		case l.master == "":
			return fmt.Errorf(`"enforce" needs a parent of the host's: name it in macvlan's "master", without "linkInContainer"`)
		case l.mode == "passthru":
			return fmt.Errorf(`"enforce" cannot tell a macvlan in mode "passthru" from the host, whose MAC it has: use "private" or "vepa"`)
		}
		made++
	}
	if made != 1 {
		return fmt.Errorf(`"enforce" needs a chain with one macvlan; this one has %d`, made)
	}
	return nil
}

// makers are the plugins of containernetworking/plugins that make links or move them.
var makers = []string{"macvlan", "ipvlan", "vlan", "bridge", "ptp", "host-device", "tap", "dummy", "loopback"}

// ReachesSiblings says, in words for the administrator, that containers on the network
// reach others on the same parent without passing it, so that nothing on the parent can
// look at what they send one another; "" if they do not.
func (n *Network) ReachesSiblings() string {
	for _, l := range n.chain {
		if l.pluginType == "macvlan" && (l.mode == "" || l.mode == "bridge") {
			return `macvlan's mode "bridge", which is the default, lets containers on one parent reach each other without passing it: ` +
				`"enforce" does not see what they send one another. Write "mode": "private" (they do not reach each other), ` +
				`or "vepa" (the switch sends it back, if it can), for each network on the parent`
		}
	}
	return ""
}
