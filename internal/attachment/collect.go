package attachment

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/fair"
)

// GarbageKind says what is left over.
type GarbageKind string

// The kinds of garbage.
const (
	// GarbageAttachment is an attachment whose container is gone or whose removal has failed.
	GarbageAttachment GarbageKind = "attachment"
	// GarbageRecord is a file of the journal's that cannot be read; it is never removed,
	// nor is what stands under its name elsewhere.
	GarbageRecord GarbageKind = "record"
	// GarbageResult is a result in CNI's cache without an attachment.
	GarbageResult GarbageKind = "cni-result"
	// GarbageAddress is an address of host-local's without an attachment.
	GarbageAddress GarbageKind = "address"
	// GarbageLease is a DHCP lease without an attachment.
	GarbageLease GarbageKind = "lease"
)

// Garbage is something that is left over, and what has become of it.
type Garbage struct {
	Kind GarbageKind
	ID   string // "<uid>.<container id>@<interface>"
	What string // for people
	// Removed: it is gone. With neither Removed nor Err it was only looked at.
	Removed bool
	Err     error
}

// busyFor is how long what somebody is at work on is waited for, which they may make last:
// theirs is left then, to them or to another time, and all else is dealt with.
const busyFor = 10 * time.Second

var errUnusable = errors.New("the record cannot be used and may stand for something that still exists: look at it and remove it")

// Collect removes all that is left over, or says what it would remove where dry is set:
// attachments whose containers are gone or whose removal has failed, and what CNI,
// host-local and DHCP still have of attachments that are not in the journal. The daemon
// does so by itself when it starts, and with attachments at all times.
func (m *Manager) Collect(ctx context.Context, dry bool) ([]Garbage, error) {
	over, err := m.over()
	if err != nil {
		return nil, err
	}
	var all []Garbage
	for _, r := range over {
		g := Garbage{Kind: GarbageAttachment, ID: r.Key.String(), What: fmt.Sprintf("%s on %s", r.State, r.Resource)}
		if !dry {
			waiting, cancel := context.WithTimeout(ctx, busyFor)
			g.Err = m.release(waiting, r)
			cancel()
			g.Removed = g.Err == nil
		}
		all = append(all, g)
	}
	for _, k := range m.journal.Unusable() {
		all = append(all, Garbage{Kind: GarbageRecord, ID: k.String(), What: "a file of the journal", Err: errUnusable})
	}
	return append(all, m.unowned(ctx, dry)...), nil
}

// over are the attachments whose namespaces are gone, and those whose removal has failed.
func (m *Manager) over() ([]*Record, error) {
	records := m.List() // before asking: a younger one is not to be judged by the answer
	alive, err := m.alive(records)
	if err != nil {
		return nil, fmt.Errorf("cannot tell which network namespaces live: %w", err)
	}
	return slices.DeleteFunc(records, func(r *Record) bool { return !r.isOwed() && alive(r) }), nil
}

// unowned deals with what the journal does not have.
func (m *Manager) unowned(ctx context.Context, dry bool) []Garbage {
	// What may be a record's that cannot be read is not without an owner.
	doubtful := m.journal.Unusable()
	var all []Garbage
	// still: it is there yet. Its owner may have removed it since it was listed, and the
	// record after it.
	deal := func(g Garbage, k Key, still func() bool, remove func() error) {
		if slices.Contains(doubtful, k) {
			return
		}
		waiting, cancel := context.WithTimeout(ctx, busyFor)
		defer cancel()
		release, err := m.keys.acquire(waiting, k) // nobody makes it just now
		if err != nil {
			return
		}
		defer release()
		if _, ok := m.Get(k); ok || !still() {
			return
		}
		g.ID = k.String()
		if !dry {
			g.Err = remove()
			g.Removed = g.Err == nil
		}
		all = append(all, g)
	}
	cached, err := m.runner.Cached()
	if err != nil {
		all = append(all, Garbage{Kind: GarbageResult, Err: err})
	}
	for _, l := range cached {
		deal(Garbage{Kind: GarbageResult, What: "a result in CNI's cache"}, keyOf(l.ContainerID, l.Interface), func() bool {
			now, err := m.runner.Cached()
			return err == nil && slices.ContainsFunc(now, func(n cni.Leftover) bool {
				return n.ContainerID == l.ContainerID && n.Interface == l.Interface
			})
		}, func() error {
			if l.Network == nil { // whatever else there is of it is found below
				return m.runner.Discard(l.ContainerID, l.Interface)
			}
			return m.adopt(ctx, l)
		})
	}
	for _, network := range m.networks() {
		reservations, err := network.Reservations()
		if err != nil {
			all = append(all, Garbage{Kind: GarbageAddress, What: "of resource " + network.Name, Err: err})
		}
		for _, r := range reservations {
			what := fmt.Sprintf("%s, reserved by host-local for resource %s", r.Address, network.Name)
			deal(Garbage{Kind: GarbageAddress, What: what}, keyOf(r.ContainerID, r.Interface), func() bool {
				now, err := network.Reservations()
				return err == nil && slices.Contains(now, r)
			}, func() error {
				return m.adopt(ctx, cni.Leftover{ContainerID: r.ContainerID, Interface: r.Interface, Network: network})
			})
		}
	}
	for _, l := range m.leases.All() {
		deal(Garbage{Kind: GarbageLease, What: "the DHCP lease of " + l.Address.String()}, keyOf(l.ID, l.Interface), func() bool {
			return len(m.leases.Leases(l.ID, l.Interface)) > 0
		}, func() error {
			return m.leases.Forget(l.ID, l.Interface)
		})
	}
	slices.SortStableFunc(all, func(a, b Garbage) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// adopt removes what CNI has of an attachment that the journal does not, by way of a
// record: so it is tried again if it fails, and seen. The key's lock is held.
func (m *Manager) adopt(ctx context.Context, l cni.Leftover) error {
	r := &Record{
		Version: recordVersion, Key: keyOf(l.ContainerID, l.Interface), Resource: m.resourceOf(l.Network),
		State: Detaching, Created: m.now().UTC(), Config: l.Network.Bytes(), serial: m.nextSerial(),
	}
	for _, arg := range l.Args {
		if arg[0] != argMAC { // which is for ADD
			r.Args = append(r.Args, arg)
		}
	}
	if ports, ok := l.CapabilityArgs["portMappings"]; ok {
		data, err := json.Marshal(ports)
		if err != nil {
			return err
		}
		r.Ports = data
	}
	if err := m.put(r); err != nil {
		return err
	}
	turn, leave, err := m.turns.Enter(ctx, r.UID, fair.Remove)
	if err != nil {
		return err // the record stays, and with it the removal
	}
	defer leave()
	removal, cancel := m.bounded(context.WithoutCancel(turn))
	defer cancel()
	return m.remove(removal, r, nil)
}

// resourceOf is the resource of today that has a network, or else the network's name.
func (m *Manager) resourceOf(network *cni.Network) string {
	for _, n := range m.networks() {
		if n.CNIName() == network.CNIName() {
			return n.Name
		}
	}
	return network.Name
}
