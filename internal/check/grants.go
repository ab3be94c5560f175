package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/net-porter/net-porter/internal/addrrange"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/server"
)

// maxOverlaps is how many pairs of grants are named of one resource.
const maxOverlaps = 20

// overlaps looks for addresses that grants give to different users: whoever comes first
// has them, and the others are refused.
func (r *Report) overlaps(resource config.Resource) {
	ips := pairs(resource.Grants, func(g config.Grant) []addrrange.IP { return g.StaticIPs },
		func(a, b addrrange.IP) int { return a.First.Compare(b.First) })
	macs := pairs(resource.Grants, func(g config.Grant) []addrrange.MAC { return g.StaticMACs },
		func(a, b addrrange.MAC) int { return cmp.Compare(a.First, b.First) })
	all := append(ips, macs...)
	for i, p := range all {
		at := resource.Grants[p.second].At
		f := Finding{Severity: Warning, File: at.File, Line: at.Line, Resource: resource.Name}
		if i == maxOverlaps {
			f.Message = "more grants have addresses in common; they are not shown"
			r.add(f)
			return
		}
		f.Message = fmt.Sprintf("the grant at %s gives addresses of %s to others, too: one who asks for an address that another one has is refused",
			resource.Grants[p.first].At, p.what)
		r.add(f)
	}
}

// pair is two grants, by their place among the resource's, that have addresses in common.
type pair struct {
	first, second int
	what          string // the second's range
}

// pairs finds pairs of grants to different users that have ranges in common, each pair
// once, and not many more than are shown.
func pairs[T interface {
	Overlaps(T) bool
	String() string
}](grants []config.Grant, ranges func(config.Grant) []T, compare func(a, b T) int) []pair {
	type piece struct {
		grant int
		of    T
	}
	var pieces []piece
	users := make([]string, len(grants))
	for i, g := range grants {
		users[i] = usersOf(g)
		for _, of := range ranges(g) {
			pieces = append(pieces, piece{i, of})
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return compare(a.of, b.of) })
	var found []pair
	seen := map[[2]int]bool{}
	for i, a := range pieces {
		// Those that begin within a; they are together, as they are in order.
		for _, b := range pieces[i+1:] {
			if !a.of.Overlaps(b.of) {
				break
			}
			first, second := a, b
			if first.grant > second.grant {
				first, second = b, a
			}
			both := [2]int{first.grant, second.grant}
			if users[first.grant] == users[second.grant] || seen[both] {
				continue
			}
			seen[both] = true
			found = append(found, pair{first.grant, second.grant, second.of.String()})
			if len(found) > maxOverlaps {
				return found
			}
		}
	}
	slices.SortStableFunc(found, func(a, b pair) int { return cmp.Or(cmp.Compare(a.second, b.second), cmp.Compare(a.first, b.first)) })
	return found
}

// usersOf names the users and groups of a grant, the same for the same ones.
func usersOf(g config.Grant) string {
	var all []string
	for _, p := range g.Users {
		all = append(all, "user "+p.String())
	}
	for _, p := range g.Groups {
		all = append(all, "group "+p.String())
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// unreachable looks for granted addresses that the network cannot give to anybody.
func (r *Report) unreachable(resource config.Resource, n *cni.Network) {
	given := n.Ranges()
	for _, g := range resource.Grants {
		for _, granted := range g.StaticIPs {
			if granted.First.Is4() && server.AsksServer(n) || slices.ContainsFunc(given, granted.Overlaps) {
				continue
			}
			r.add(Finding{
				Severity: Warning, File: g.At.File, Line: g.At.Line, Resource: resource.Name,
				Message: fmt.Sprintf("static_ips has %s, of which no address can be given: %s", granted, whyNot(n, granted.First)),
				Hint:    "network configuration: " + n.File(),
			})
		}
	}
}

// whyNot says why a network has no place for an address.
func whyNot(n *cni.Network, ip netip.Addr) string {
	if slices.Contains(n.IPAMTypes(), "dhcp") && len(n.Ranges()) == 0 {
		switch {
		case len(n.DHCPConfigs()) == 0:
			return "the network's addresses come from another DHCP daemon (daemonSocketPath), which cannot be asked for a certain one"
		case ip.Is4():
			return "the network asks DHCP servers for IPv6 addresses alone (\"ipv4\": false)"
		}
		return "a DHCPv6 server is not asked for a certain address"
	}
	_, err := n.WithStaticAddresses([]netip.Addr{ip})
	if err == nil {
		return "the network has others"
	}
	return strings.TrimSpace(err.Error())
}
