package attachment

import (
	"fmt"
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
	Reconcile(parents []string, all []enforce.Held) error
	// Link is the index of the parent link that an attachment is held on, 0 if that is gone.
	Link(id string) int
}

// guard is a Guard, and the parent links on which it is in force.
type guard struct {
	Guard

	// mu is held for writing while the parents are changed and what is held on them is
	// collected, and for reading while something of one attachment is.
	mu      sync.RWMutex
	parents map[string]bool
}

// Enforce has the Guard be in force on some parent links and on no others, for all
// attachments that hang on them, of whichever resource. It is to be called before anything
// is attached, and whenever the links become others.
func (m *Manager) Enforce(parents []string) error {
	m.guard.mu.Lock()
	defer m.guard.mu.Unlock()
	if m.guard.Guard == nil {
		return nil
	}
	wanted := map[string]bool{}
	for _, p := range parents {
		wanted[p] = true
	}
	var all []enforce.Held
	for _, r := range m.List() {
		if !wanted[r.Parent] {
			continue
		}
		h, err := m.held(r)
		if err != nil { // it cannot send, as from nobody's MAC
			m.log.Warn("what an attachment may send cannot be told", "attachment", r.Key.String(), "error", err)
			continue
		}
		all = append(all, h)
	}
	if err := m.guard.Reconcile(parents, all); err != nil {
		return fmt.Errorf("cannot enforce what containers may send: %w", err)
	}
	m.guard.parents = wanted
	for _, r := range m.List() {
		if wanted[r.Parent] {
			m.leases.Recheck(r.CNIContainerID(), r.Interface)
		}
	}
	return nil
}

// parentOf is the one host's link that a network's containers hang on, "" if there is not
// just one.
func parentOf(network *cni.Network) string {
	if masters := network.Masters(); len(masters) == 1 {
		return masters[0]
	}
	return ""
}

// admit lets an attachment send as what it holds by now, where that is enforced.
func (m *Manager) admit(r *Record, also ...netip.Addr) error {
	m.guard.mu.RLock()
	defer m.guard.mu.RUnlock()
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
