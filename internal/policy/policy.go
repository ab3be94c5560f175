// Package policy decides who may have what. Its functions are pure: a subject, a
// resource's rules and a request go in, a decision comes out. What is not
// written in the rules is denied.
package policy

import (
	"net"
	"net/netip"
	"slices"
)

// Subject is the caller, by the numbers that the kernel vouches for.
type Subject struct {
	UID  uint32
	GIDs []uint32 // primary and supplementary
}

// Resource is one resource's rules, with every name resolved to its number.
type Resource struct {
	Name   string
	Users  map[uint32]string // uid to the rule as the administrator wrote it
	Groups map[uint32]string // gid to the rule as the administrator wrote it
}

// Request is what a caller asks of a resource beyond using it.
type Request struct {
	StaticIPs []netip.Addr
	StaticMAC net.HardwareAddr
	// Replay says that the addresses are those which the same container had a
	// moment ago in the same namespace, which is what `podman network reload`
	// sends: nobody gets an address by it that they were not given.
	Replay bool
	// ServerDecides says that addresses come from a DHCP server, which grants the address
	// that is asked for or does not: by that, nobody gets one that they could not have
	// had by chance.
	ServerDecides bool
}

// Reason is why a request is denied. The values are those of a metric's label.
type Reason string

// The reasons for which a request is denied.
const (
	ReasonNone          Reason = ""
	ReasonNotListed     Reason = "not-listed"     // neither the user nor a group is in the resource's lists
	ReasonStaticAddress Reason = "static-address" // an address or MAC that nobody granted
)

// Decision is the answer, and what it rests on.
type Decision struct {
	Allowed bool
	Rule    string // the rule that allows, as the administrator wrote it
	Reason  Reason // why not
}

// Use decides whether a subject may use a resource at all.
func Use(s Subject, r Resource) Decision {
	if rule, ok := r.Users[s.UID]; ok {
		return Decision{Allowed: true, Rule: rule}
	}
	// In the order of the subject's groups, so that the rule named is always the same one.
	gids := slices.Clone(s.GIDs)
	slices.Sort(gids)
	for _, gid := range gids {
		if rule, ok := r.Groups[gid]; ok {
			return Decision{Allowed: true, Rule: rule}
		}
	}
	return Decision{Reason: ReasonNotListed}
}

// Attach decides whether a subject may have this attachment.
func Attach(s Subject, r Resource, q Request) Decision {
	d := Use(s, r)
	if !d.Allowed {
		return d
	}
	if (len(q.StaticIPs) > 0 || len(q.StaticMAC) > 0) && !q.Replay && !q.isForServer() {
		return Decision{Reason: ReasonStaticAddress}
	}
	return d
}

// isForServer says whether a request is one that DHCP knows: for one IPv4 address.
func (q Request) isForServer() bool {
	return q.ServerDecides && len(q.StaticMAC) == 0 && len(q.StaticIPs) == 1 && q.StaticIPs[0].Is4()
}
