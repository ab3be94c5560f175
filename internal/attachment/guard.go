package attachment

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/enforce"
)

// Guard holds what containers send on parent links to what their attachments hold;
// *enforce.Enforcer is one. When its methods return, the kernel goes by it.
type Guard interface {
	Admit(enforce.Held) error
	Remove(id string) error
	// Reconcile is owed where it fails: the Guard tries again by itself.
	Reconcile(parents []string, all []enforce.Held) error
	// InForce are the parent links that the kernel has rules for.
	InForce() ([]string, error)
	// Link is the index of the parent link that an attachment is held on, 0 if that is gone.
	Link(id string) int
}

// guard is a Guard, and the parent links on which it has to be in force.
type guard struct {
	Guard

	// mu is held for writing while the parents are changed and what is held on them is
	// collected, and for reading while something of one attachment is.
	mu      sync.RWMutex
	parents map[string]bool
}

// ErrNotEnforced says that an attach has met a change of the configuration, after which its
// parent link is not one on which anything is enforced, or before which it was not.
var ErrNotEnforced = errors.New("what the container may send is not enforced on its parent link")

// Enforce has the Guard be in force on some parent links, and on those from which
// attachments hang whose resource enforces: what is attached is where it was made, whatever
// has become of its network configuration. On no others; and all attachments there are
// held, of whichever resource. It is to be called before anything is attached, and whenever
// any of this becomes other.
//
// enforces says whether a resource wants it, if that is known: the attachments of one that
// is not configured any more are no freer than they were.
//
// Where it fails, nothing is attached without rules on what was to be enforced by now, nor
// on what was before.
func (m *Manager) Enforce(parents []string, enforces func(resource string) (wanted, known bool)) error {
	m.guard.mu.Lock()
	defer m.guard.mu.Unlock()
	if m.guard.Guard == nil {
		return nil
	}
	before := m.guard.parents
	atStart := before == nil
	if atStart { // the kernel has the rules of an earlier daemon, unless somebody has flushed them
		inForce, err := m.guard.InForce()
		if err != nil {
			return fmt.Errorf("cannot find out where it is enforced what containers may send: %w", err)
		}
		before = setOf(inForce)
	}
	wanted := setOf(parents)
	for _, r := range m.List() {
		enforced, known := enforces(r.Resource)
		if !known {
			enforced = before[r.Parent] || atStart && r.Enforced
		}
		if enforced && r.Parent != "" {
			wanted[r.Parent] = true
		}
	}
	m.guard.parents = wanted
	err := m.reconcile()
	if err != nil {
		err = fmt.Errorf("cannot enforce what containers may send: %w", err)
		// The kernel may have the rules of before still, or some time those of now. Whoever
		// is attached meanwhile has to be held by either.
		both := maps.Clone(wanted)
		maps.Copy(both, before)
		if m.guard.parents = both; len(both) > len(wanted) {
			err = errors.Join(err, m.reconcile())
		}
	}
	for _, r := range m.List() {
		if m.guard.parents[r.Parent] {
			m.leases.Recheck(r.CNIContainerID(), r.Interface)
		}
	}
	return err
}

// reconcile has the Guard hold all attachments on its parents. guard.mu is held.
func (m *Manager) reconcile() error {
	var all []enforce.Held
	for _, r := range m.List() {
		if !m.guard.parents[r.Parent] {
			continue
		}
		h, err := m.held(r)
		if err != nil { // it cannot send, as from nobody's MAC
			m.log.Warn("what an attachment may send cannot be told", "attachment", r.Key.String(), "error", err)
			continue
		}
		all = append(all, h)
	}
	return m.guard.Reconcile(slices.Sorted(maps.Keys(m.guard.parents)), all)
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// parentOf is the one host's link that a network's containers hang on, "" if there is not
// just one.
func parentOf(network *cni.Network) string {
	if masters := network.Masters(); len(masters) == 1 {
		return masters[0]
	}
	return ""
}

// admitNew is admit of an attachment in the making. One that was to be held and is on no
// parent of the Guard's, as the configuration has changed this moment, is not made.
func (m *Manager) admitNew(r *Record) error {
	m.guard.mu.RLock()
	defer m.guard.mu.RUnlock()
	if r.Enforced && !m.guard.parents[r.Parent] {
		return ErrNotEnforced
	}
	return m.admitLocked(r)
}

// admit lets an attachment send as what it holds by now, where that is enforced.
func (m *Manager) admit(r *Record, also ...netip.Addr) error {
	m.guard.mu.RLock()
	defer m.guard.mu.RUnlock()
	return m.admitLocked(r, also...)
}

// admitLocked is admit with guard.mu held.
func (m *Manager) admitLocked(r *Record, also ...netip.Addr) error {
	if !m.guard.parents[r.Parent] {
		return nil
	}
	h, err := m.held(r)
	if err != nil {
		return err
	}
	h.Addrs = append(h.Addrs, also...)
	return m.guard.Admit(h)
}

// expel lets an attachment send nothing any more.
func (m *Manager) expel(r *Record) error {
	m.guard.mu.RLock()
	defer m.guard.mu.RUnlock()
	if m.guard.Guard == nil {
		return nil
	}
	return m.guard.Remove(r.Key.String())
}

// Hold has an attachment hold what its leases come to, and one address more if there is
// one, before its interface uses it (dhcp.Options). The id is CNI's container id.
func (m *Manager) Hold(id, ifname string, also netip.Addr) {
	r, ok := m.Get(keyOf(id, ifname))
	if !ok || r.State != Pending && r.State != Attached {
		return
	}
	var more []netip.Addr
	if also.IsValid() {
		more = append(more, also)
	}
	if err := m.admit(r, more...); err != nil {
		m.log.Error("a container cannot use an address that it was granted: what it may send cannot be changed", "attachment", r.Key.String(), "address", also, "error", err)
	}
}

// Witness says where the host has to hear itself of what DHCP grants to an interface: on
// the link of the index, and for the MAC; 0 where nothing is enforced. So the leases of
// attachments there are the word of servers, and what is recorded of them is good for
// another run. The id is CNI's container id.
func (m *Manager) Witness(id, ifname string) (parent int, mac net.HardwareAddr, err error) {
	r, ok := m.Get(keyOf(id, ifname))
	if !ok { // nor is anything admitted for it
		return 0, nil, nil
	}
	m.guard.mu.RLock()
	defer m.guard.mu.RUnlock()
	if !m.guard.parents[r.Parent] {
		return 0, nil, nil
	}
	h, err := m.held(r)
	if err != nil {
		return 0, nil, err
	}
	if parent = m.guard.Link(h.ID); parent == 0 {
		return 0, nil, fmt.Errorf("%w: %s", enforce.ErrNoParent, r.Parent)
	}
	return parent, h.MAC, nil
}

// held is what an attachment may send as: what the daemon and the plugins have chosen, and
// nothing that was read in the container's namespace, where its root may have put anything
// meanwhile. The MAC of the result is such, and so are addresses that the kernel there has
// made of router advertisements, for which there is SLAAC.
func (m *Manager) held(r *Record) (enforce.Held, error) {
	h := enforce.Held{ID: r.Key.String(), Parent: r.Parent, SLAAC: true, Addrs: slices.Clone(r.Static)}
	mac := r.chosenMAC()
	if macs := r.MACs(); mac == "" && len(macs) > 0 {
		mac = macs[0] // of a time when its MAC was the kernel's choice
	}
	var err error
	if h.MAC, err = net.ParseMAC(mac); err != nil {
		return enforce.Held{}, fmt.Errorf("its MAC address is not known: %w", err)
	}
	v := m.View(r)
	if v.CNI != nil {
		for _, ip := range withoutLearned(r, v.CNI).IPs {
			h.Addrs = append(h.Addrs, prefixOf(ip).Addr())
		}
	}
	for _, lease := range v.Leases {
		if !lease.Expired {
			h.Addrs = append(h.Addrs, lease.Address.Addr())
		}
	}
	slices.SortFunc(h.Addrs, netip.Addr.Compare)
	h.Addrs = slices.Compact(h.Addrs)
	return h, nil
}
