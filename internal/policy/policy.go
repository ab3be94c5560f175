// Package policy decides who may have what. Its functions are pure: a subject, a
// resource's rules and a request go in, a decision comes out. What is not
// written in the rules is denied.
package policy

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"github.com/net-porter/net-porter/internal/addrrange"
)

// Subject is the caller, by the numbers that the kernel vouches for.
type Subject struct {
	UID  uint32
	GIDs []uint32 // primary and supplementary
}

// Request is what a caller asks of a resource beyond using it.
type Request struct {
	// StaticIPs and StaticMAC are addresses of the caller's choice; each has to be granted.
	StaticIPs []netip.Addr
	StaticMAC net.HardwareAddr
	// Replay says that the addresses are those which the same container had a
	// moment ago in the same namespace, which is what `podman network reload`
	// sends: nobody gets an address by it that they were not given.
	Replay bool
}

// Reason is why a request is denied. The values are those of a metric's label.
type Reason string

// The reasons for which a request is denied.
const (
	ReasonNone          Reason = ""
	ReasonNotListed     Reason = "not-listed"     // neither the user nor a group is in the resource's rules
	ReasonStaticAddress Reason = "static-address" // an IP address that nobody granted
	ReasonStaticMAC     Reason = "static-mac"     // a MAC address that nobody granted
)

// Decision is the answer, and what it rests on.
type Decision struct {
	Allowed bool
	// Rules are those that allow, as the administrator wrote them and each once: the one
	// for the use of the resource, and those for the addresses.
	Rules []string
	// Reason is why not, and Address for which address.
	Reason  Reason
	Address string
	// Most is how many attachments the subject may have on the resource; 0: any number.
	Most int
}

// Use decides whether a subject may use a resource at all, and how often.
func Use(s Subject, r *Resource) Decision {
	d, _ := use(s, r)
	return d
}

func use(s Subject, r *Resource) (Decision, []*granted) {
	rule, grants := r.of(s)
	if rule == "" && len(grants) == 0 {
		return Decision{Reason: ReasonNotListed}, nil
	}
	if rule == "" {
		rule = grants[0].rule
	}
	// What grants say of the number goes before the resource's own word, and of several
	// the greatest holds.
	most := 0
	for _, g := range grants {
		most = max(most, g.most)
	}
	return Decision{Allowed: true, Rules: []string{rule}, Most: cmp.Or(most, r.MostPerUser)}, grants
}

// Attach decides whether a subject may have this attachment.
func Attach(s Subject, r *Resource, q Request) Decision {
	d, grants := use(s, r)
	if !d.Allowed || q.Replay {
		return d
	}
	for _, ip := range q.StaticIPs {
		if !d.add(grants, func(g *granted) string { return g.ips.find(ip, netip.Addr.Compare) }) {
			return Decision{Reason: ReasonStaticAddress, Address: ip.String()}
		}
	}
	if len(q.StaticMAC) > 0 {
		mac, ok := addrrange.MACNumber(q.StaticMAC)
		if !ok || !d.add(grants, func(g *granted) string { return g.macs.find(mac, cmp.Compare[uint64]) }) {
			return Decision{Reason: ReasonStaticMAC, Address: q.StaticMAC.String()}
		}
	}
	return d
}

// add notes the rule of the first grants that have one, and says whether there is any.
func (d *Decision) add(grants []*granted, find func(*granted) string) bool {
	for _, g := range grants {
		if rule := find(g); rule != "" {
			if !slices.Contains(d.Rules, rule) {
				d.Rules = append(d.Rules, rule)
			}
			return true
		}
	}
	return false
}
