package attachment

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/identity"
	"github.com/net-porter/net-porter/internal/netns"
)

// reserve gives a record what its interface is known by to the LAN, and makes it
// visible, so that no other gets the same. withdraw takes it back, put keeps it.
//
// Two containers of a user may go by one name, since nobody but podman sees to it that
// they do not: then the second is known by its id. As one client of a DHCP server they
// would have one address.
//
// What the request claims is looked at in the same moment, so that of two requests for
// one address, or for the last place, one gets it.
func (m *Manager) reserve(r *Record, q Request) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.conflict(q); err != nil {
		return err
	}
	r.KnownAs = q.KnownAs
	for _, other := range m.records {
		if other.Key != r.Key && other.isKnownAs(r) {
			m.log.Info("another container of the name is attached: this one is known by its id to the LAN, and has a MAC and address of its own",
				"attachment", r.Key.String(), "name", q.KnownAs, "other", other.Key.String())
			r.KnownAs = r.ContainerID
			break
		}
	}
	if q.StableMAC && r.chosenMAC() == "" {
		r.Args = append(slices.Clone(r.Args), [2]string{argMAC, m.freeMAC(r).String()})
	}
	m.records[r.Key] = r
	return nil
}

// argMAC is the one of CNI_ARGS by which macvlan and bridge take a MAC.
const argMAC = "MAC"

// freeMAC is the record's first MAC that no other attachment has. mu is held.
func (m *Manager) freeMAC(r *Record) net.HardwareAddr {
	for attempt := 0; ; attempt++ {
		mac := m.host.MAC(r.identified(), attempt)
		taken, text := false, mac.String()
		for _, other := range m.records {
			taken = taken || other.hasMAC(text) && other.Key != r.Key
		}
		if !taken {
			return mac
		}
	}
}

// chosenMAC is the MAC that the daemon has chosen for the interface, or had a grant for; ""
// where it is the kernel's choice. The result's is read in the container, whose root may
// have set any.
func (r *Record) chosenMAC() string {
	for _, arg := range r.Args {
		if arg[0] == argMAC {
			return arg[1]
		}
	}
	return ""
}

// hasMAC takes the address as net.HardwareAddr spells it. Each attach asks it of every
// record, so it makes nothing.
func (r *Record) hasMAC(mac string) bool {
	if r.chosenMAC() == mac {
		return true
	}
	if r.Result == nil || r.Result.CNI == nil {
		return false
	}
	for _, i := range r.Result.CNI.Interfaces {
		if i.Name == r.Interface && i.Sandbox != "" && strings.EqualFold(i.Mac, mac) {
			return true
		}
	}
	return false
}

// identified is the record's interface as its identity is derived.
func (r *Record) identified() identity.Container {
	return identity.Container{UID: r.UID, Name: r.KnownAs, Resource: r.Resource, Interface: r.Interface}
}

// isKnownAs says whether two records' interfaces are one to their LAN.
func (r *Record) isKnownAs(other *Record) bool {
	return r.KnownAs != "" && r.identified() == other.identified()
}

// leaseIdentity is who the record's interface is to DHCP servers. Records of before
// there were identities have none.
func (m *Manager) leaseIdentity(r *Record) dhcp.Identity {
	if r.KnownAs == "" {
		return dhcp.Identity{}
	}
	id := m.host.Identity(r.identified())
	return dhcp.Identity{ClientID: id.ClientID(), DUID: id.DUID, IAID: id.IAID}
}

// How long, and how often, the death of a namesake is waited for: that of one to which
// nothing leads any more, and that of one which still can be reached, since an unmounted
// namespace lives on for some milliseconds.
const (
	dyingWait  = time.Second
	livingWait = 100 * time.Millisecond
	dyingPause = 5 * time.Millisecond
)

// releaseNamesake releases what a container of the same name has left that is dead, so
// that its successor gets the same address and MAC. The kernel's word of the death may
// come a moment later than the next container.
func (m *Manager) releaseNamesake(ctx context.Context, q Request) {
	successor := &Record{Key: q.Key, Resource: q.Resource, KnownAs: q.KnownAs}
	var namesakes []*Record // hardly ever any; each attach looks
	m.mu.Lock()
	for _, r := range m.records {
		if r.Key != q.Key && r.isKnownAs(successor) {
			namesakes = append(namesakes, r)
		}
	}
	m.mu.Unlock()
	for _, r := range namesakes {
		if m.isDead(ctx, r) {
			_ = m.release(ctx, r)
		}
	}
}

// isDead says whether a record's namespace is gone, or goes within the time that one
// which is about to has. Of one whose id may be another's by now, which only root's are,
// it is not known.
func (m *Manager) isDead(ctx context.Context, r *Record) bool {
	if !netns.Lasting(r.NSID) && r.Namespace.BootID == m.boot {
		return false
	}
	if lives, err := m.lives(r); err != nil || !lives {
		return err == nil
	}
	wait := dyingWait
	if ns, err := m.finder.Find(ctx, r.wanted()); err == nil {
		ns.Close()
		wait = livingWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	again := time.NewTicker(dyingPause)
	defer again.Stop()
	for {
		if lives, err := m.lives(r); err != nil || !lives {
			return err == nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return false
		}
	}
}
