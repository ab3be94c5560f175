package server

import (
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/policy"
)

// Question is an attach that nobody has asked for.
type Question struct {
	UID, GID uint32
	Groups   []uint32 // supplementary ones
	Resource string
	IPs      []string // addresses of the user's choice
	MAC      string   // "": none
}

// Preview decides on a question as an attach with these rules is decided on, as far as
// the rules go. The error is the one that the user would see: not permitted, or, after
// an allowed decision, an address that the network cannot give. To the latter, network
// says what the resource's conflist is; it may be nil.
func Preview(rules []*policy.Resource, q Question, network func() (*cni.Network, error)) (policy.Decision, error) {
	ips, err := checkAddresses(q.IPs)
	if err != nil {
		return policy.Decision{}, err
	}
	request := policy.Request{StaticIPs: ips}
	if q.MAC != "" {
		if request.StaticMAC, err = checkMAC(q.MAC); err != nil {
			return policy.Decision{}, err
		}
	}
	c := catalog{resources: make(map[string]*policy.Resource, len(rules))}
	for _, r := range rules {
		c.resources[r.Name] = r
	}
	id := peer.Identity{UID: q.UID, GID: q.GID, Groups: q.Groups}
	resource, decision, err := c.permitted(q.Resource, id)
	if err != nil {
		return decision, err
	}
	if decision = policy.Attach(subject(id), resource, request); !decision.Allowed {
		return decision, addressDenied(q.Resource, decision)
	}
	if network == nil || len(ips) == 0 {
		return decision, nil
	}
	a := asked{static: ips}
	if a.network, err = network(); err != nil {
		return decision, err
	}
	return decision, a.place()
}
