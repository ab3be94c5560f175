package dhcp

import (
	"slices"
	"strings"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/dhcp6"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// Family is the version of IP that a lease is of, and of DHCP.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Lease is what a DHCP server granted to an attachment, with all that is needed to
// prolong or release it in another run of the daemon. It is replaced, never changed:
// its slices and pointers are shared.
type Lease struct {
	ID        string `json:"id"`        // CNI container id, "<uid>.<container id>"
	Interface string `json:"interface"` // name inside the namespace when it was acquired
	Family    Family `json:"family"`
	Network   string `json:"network"` // name of the conflist
	// Container is podman's name for the container, Resource where it is attached.
	Container string `json:"container_name,omitempty"`
	Resource  string `json:"resource,omitempty"`
	// Parent is the link of the host's that the interface hangs on, "" if unknown: a
	// RELEASE goes out there once the namespace is gone.
	Parent string `json:"parent,omitempty"`

	MAC      string `json:"mac"` // of the interface when the lease was acquired
	HostName string `json:"host_name,omitempty"`
	// What every message to a server repeats, of the family's.
	DHCP4 *dhcp4.Params `json:"dhcp4,omitempty"`
	DHCP6 *dhcp6.Params `json:"dhcp6,omitempty"`
	// Priority is the metric of its routes.
	Priority int `json:"priority,omitempty"`
	// Probe: addresses are probed for other users of them (RFC 5227; for IPv6 that is the
	// kernel's own detection, RFC 4862, section 5.4).
	Probe bool `json:"probe,omitempty"`

	grant.Grant
	// Acquired is when the grant was confirmed last: in time since boot, which counts, and
	// by the wall clock of that moment.
	Acquired     time.Duration `json:"acquired"`
	AcquiredWall time.Time     `json:"acquired_wall"`
	BootID       string        `json:"boot_id"` // random(4), of the boot that Acquired is of

	// Witnessed: the host has heard of the grant, too.
	Witnessed bool `json:"witnessed,omitempty"`
	// Expired: the grant is over, and another one is being looked for.
	Expired bool `json:"expired,omitempty"`
	// Refused: the address was refused or is another machine's, so that it is not asked
	// for again.
	Refused bool `json:"refused,omitempty"`
	// Undone are grants that the interface may still have something of: they are over, or
	// have been replaced by Grant, and the interface has not been seen to yet.
	Undone []grant.Grant `json:"undone,omitempty"`
	// Probes is how many looks for another user of the address are to follow.
	Probes int `json:"probes,omitempty"`
	// Superseded: another attachment has been granted a lease under the same client
	// identifier, so that this one is not this attachment's to release any more.
	Superseded bool `json:"superseded,omitempty"`
}

func (l *Lease) key() key { return key{l.ID, l.Interface, l.Family} }

// ClientID is who the client is to servers: DHCPv4's client identifier (option 61),
// DHCPv6's DUID.
func (l *Lease) ClientID() []byte {
	if l.DHCP6 != nil {
		return l.DHCP6.DUID
	}
	return l.DHCP4.ClientID
}

// binding is what servers keep the lease under: who the client is and, in DHCPv6, which
// of its interfaces it is for.
func (l *Lease) binding() binding {
	b := binding{l.Network, string(l.ClientID()), 0, l.Family}
	if l.DHCP6 != nil {
		b.iaid = l.DHCP6.IAID
	}
	return b
}

type binding struct {
	network, clientID string
	iaid              uint32
	family            Family
}

// State is where in its life a lease is, in the words of RFC 2131, figure 5.
type State string

// The states. What follows from time alone is told by it: see [Lease.stateAt].
const (
	Bound     State = "bound"
	Renewing  State = "renewing"
	Rebinding State = "rebinding"
	// Selecting: the lease has expired, the interface has no address of it, and servers
	// are asked for one.
	Selecting State = "selecting"
)

// States are all states.
func States() []State { return []State{Bound, Renewing, Rebinding, Selecting} }

// stateAt is the lease's state at a time since boot. A lease whose time is over and that
// has not been dealt with yet is still in rebinding.
func (l *Lease) stateAt(now time.Duration) State {
	age := now - l.Acquired
	switch {
	case l.Expired:
		return Selecting
	case l.Infinite() || age < l.T1:
		return Bound
	case age < l.T2:
		return Renewing
	}
	return Rebinding
}

// overAt says whether the address must not be used any more.
func (l *Lease) overAt(now time.Duration) bool {
	return l.Expired || !l.Infinite() && now-l.Acquired >= l.Lifetime
}

// left is the time until the lease is over, 0 if it is, or if it never will be.
func (l *Lease) left(now time.Duration) time.Duration {
	if l.Expired || l.Infinite() {
		return 0
	}
	return max(0, l.Acquired+l.Lifetime-now)
}

// maxUndone bounds what is kept of grants that cannot be undone; of more the oldest are
// given up.
const maxUndone = 8

// leave notes that the interface has to be rid of the lease's grant.
func (l Lease) leave() Lease {
	undone := append(slices.Clone(l.Undone), l.Grant)
	l.Undone = undone[max(0, len(undone)-maxUndone):]
	return l
}

// supersede is the lease when another attachment has been granted it.
func (l Lease) supersede() Lease {
	if !l.Expired {
		l = l.leave()
	}
	l.Superseded, l.Expired, l.Probes = true, true, 0
	return l
}

// user is the uid of the lease's attachment, as text.
func (l *Lease) user() string {
	uid, _, _ := strings.Cut(l.ID, ".")
	return uid
}

// minT1 keeps a server from being asked without a pause, whatever times it names.
const minT1 = time.Second

// with is the lease with a grant that was confirmed just now.
func (l Lease) with(g grant.Grant, now time.Duration) Lease {
	if !g.Infinite() {
		g.T1 = max(g.T1, min(minT1, g.Lifetime))
		g.T2 = max(g.T2, g.T1)
	}
	l.Grant, l.Acquired, l.AcquiredWall = g, now, time.Now().Round(0)
	l.Expired, l.Refused = false, false
	return l
}

// Status is a lease as it is at the moment, with times by the wall clock.
type Status struct {
	Lease
	State State
	// T1At, T2At and Expiry are when it is renewed, rebound and over; zero for a lease
	// without end, or without an address.
	T1At, T2At, Expiry time.Time
}

func (l *Lease) status(now time.Duration) Status {
	s := Status{Lease: *l, State: l.stateAt(now)}
	if !l.Infinite() && !l.Expired {
		base := time.Now().Add(l.Acquired - now).Round(0)
		s.T1At, s.T2At, s.Expiry = base.Add(l.T1), base.Add(l.T2), base.Add(l.Lifetime)
	}
	return s
}
