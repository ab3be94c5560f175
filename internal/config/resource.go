package config

import (
	"fmt"
	"net"
	"time"
)

func (r *reader) resources(raw []value[rawResource], cniTimeout value[time.Duration]) []Resource {
	resources := make([]Resource, 0, len(raw))
	first := make(map[string]*node)
	for _, item := range raw {
		res := Resource{
			At:          r.place(item.at),
			Name:        checked(item.what.name, "", r.resourceName),
			AllowUsers:  r.allowed(item.what.allowUsers.what),
			AllowGroups: r.allowed(item.what.allowGroups.what),
			Grants:      r.grants(item.what.grants.what),
			Identity:    checked(item.what.identity, IdentityContainerName, r.identity),
			MAC:         checked(item.what.mac, MACStable, r.mac),
			DHCP:        r.dhcp(item.what.dhcp.what, cniTimeout),
			IPv6Wait: checked(item.what.ipv6Wait, 0, func(at *node, text string) (time.Duration, bool) {
				return r.within(at, text, 0, MaxIPv6Wait, cniTimeout)
			}),
			OnRevoke:              checked(item.what.onRevoke, RevokeKeep, r.onRevoke),
			Enforce:               item.what.enforce.what,
			MaxAttachmentsPerUser: checked(item.what.maxAttachmentsPerUser, 0, r.quota),
		}
		if res.Enforce && res.MAC == MACRandom {
			r.fault(item.what.enforce.at, `what is enforced has to be known before the interface is there; leave "mac" out`,
				"cannot be true with %s", `"mac": "random"`)
		}
		at := item.what.name.at
		switch before := first[res.Name]; {
		case res.Name == "" || r.full():
		case before != nil:
			r.fault(at, "one resource has one entry; merge the two",
				"is %s, which is the name of the resource on line %d already", quote(res.Name), lineOf(r.data, before.at))
		default:
			first[res.Name] = at
			resources = append(resources, res)
		}
	}
	return resources
}

func (r *reader) identity(at *node, text string) (Identity, bool) {
	switch id := Identity(text); id {
	case IdentityContainerName, IdentityContainerID:
		return id, true
	}
	r.notOneOf(at, text, string(IdentityContainerName), string(IdentityContainerID))
	return "", false
}

func (r *reader) onRevoke(at *node, text string) (OnRevoke, bool) {
	switch o := OnRevoke(text); o {
	case RevokeKeep, RevokeDetach:
		return o, true
	}
	r.notOneOf(at, text, string(RevokeKeep), string(RevokeDetach))
	return "", false
}

func (r *reader) mac(at *node, text string) (MAC, bool) {
	switch mac := MAC(text); mac {
	case MACStable, MACRandom:
		return mac, true
	}
	if _, err := net.ParseMAC(text); err == nil {
		r.fault(at, `one address would be that of every container; "stable" gives each its own`,
			"must be %s or %s, not the address %s", MACStable, MACRandom, quote(text))
		return "", false
	}
	r.notOneOf(at, text, string(MACStable), string(MACRandom))
	return "", false
}

func (r *reader) dhcp(raw rawDHCP, cniTimeout value[time.Duration]) DHCP {
	// A short cni.timeout needs no second key to go with it: an acquisition then takes
	// most of it, and leaves some for the plugins before and after it.
	fallback := min(DefaultDHCPTimeout, cniTimeout.what*3/4)
	return DHCP{
		Timeout: checked(raw.timeout, fallback, func(at *node, text string) (time.Duration, bool) {
			return r.within(at, text, MinDHCPTimeout, MaxDHCPTimeout, cniTimeout)
		}),
		ConflictDetection: raw.conflictDetection.what || !raw.conflictDetection.ok,
	}
}

// within takes a duration that is spent within an attach, which cni.timeout ends.
func (r *reader) within(at *node, text string, least, most time.Duration, cniTimeout value[time.Duration]) (time.Duration, bool) {
	d, ok := r.between(at, text, least, most)
	if !ok || !cniTimeout.ok || d < cniTimeout.what {
		return d, ok
	}
	whence := "by default"
	if cniTimeout.at != nil {
		whence = fmt.Sprintf("on line %d", lineOf(r.data, cniTimeout.at.at))
	}
	r.fault(at, "an attach as a whole ends then; make cni.timeout longer or this one shorter",
		"must be shorter than cni.timeout, which is %s %s, not %s", cniTimeout.what, whence, quote(text))
	return 0, false
}
