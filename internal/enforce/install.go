package enforce

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/enforce/nft"
)

// picture is what there has to be in the kernel besides the attachments.
type picture struct {
	links map[int]place // parents, by index
	host  []element
	leads []string // keys of setParents
}

// place is a parent's link.
type place struct {
	name   string // by which the configuration knows the parent
	device string // as the link is called now
	gate   gate
}

func (p picture) equal(q picture) bool {
	return maps.Equal(p.links, q.links) && slices.Equal(p.host, q.host) && slices.Equal(p.leads, q.leads)
}

// chainOf is the name of the chain with a parent's hook. Names of links may have in them
// what those of chains may not, and change.
func chainOf(index int) string { return "parent_" + strconv.Itoa(index) }

// gateChainOf is the name of the chain where a parent's frames are looked at.
func gateChainOf(index int) string { return "gate_" + strconv.Itoa(index) }

// draw finds what there has to be. The link that a parent's name once meant stays one as
// long as it is there and something is held on it: a link that is renamed has its
// macvlans still.
func (e *Enforcer) draw(h *host, parents []string, held map[string]kept) picture {
	wanted := map[string]bool{}
	for _, name := range parents {
		wanted[name] = true
	}
	for _, k := range held {
		wanted[k.Parent] = true
	}
	p := picture{links: map[int]place{}}
	for index, was := range e.installed.links {
		if link, ok := h.byIndex[index]; ok && wanted[was.name] {
			p.links[index] = place{was.name, link.Attrs().Name, h.gate(index)}
		}
	}
	for name := range wanted {
		if index, ok := h.byName[name]; ok {
			p.links[index] = place{name, name, h.gate(index)}
		}
	}
	for _, index := range slices.Sorted(maps.Keys(p.links)) {
		host, leads := h.elements(index, p.links[index].gate.in)
		p.host, p.leads = append(p.host, host...), append(p.leads, leads...)
	}
	slices.SortFunc(p.host, func(a, b element) int {
		return slices.Compare([]string{a.set, a.key}, []string{b.set, b.key})
	})
	slices.Sort(p.leads)
	p.host, p.leads = slices.Compact(p.host), slices.Compact(p.leads)
	return p
}

// elementsOf is what the kernel has to know of what is held.
func (p picture) elementsOf(k kept) []element {
	at, ok := p.links[k.index]
	if !ok {
		return nil // its link is gone
	}
	return k.elements(at.gate.in)
}

// settle gives what is held the index of its link: that which it was admitted on, if it is
// there, or the one that has the name now.
func settle(h *host, p picture, held map[string]kept) map[string]kept {
	settled := make(map[string]kept, len(held))
	for id, k := range held {
		if p.links[k.index].name != k.Parent {
			k.index = h.byName[k.Parent]
			for _, index := range slices.Sorted(maps.Keys(p.links)) {
				if k.index == 0 && p.links[index].name == k.Parent {
					k.index = index // renamed before we were started
				}
			}
		}
		settled[id] = k
	}
	return settled
}

// maxInstalls is how often it is tried: links may come and go meanwhile.
const maxInstalls = 5

// install writes everything, into what is there or from the beginning.
func (e *Enforcer) install(parents []string, held map[string]kept) error {
	var err error
	for attempt := range maxInstalls {
		// Where something of ours is of another make, it goes before, in the same moment.
		if err = e.installOnce(parents, held, attempt > 1); err == nil {
			return nil
		}
	}
	return fmt.Errorf("cannot write the rules that enforce what containers may send: %w", err)
}

func (e *Enforcer) installOnce(parents []string, held map[string]kept, anew bool) error {
	h, err := look()
	if err != nil {
		return err
	}
	// Asked before: what others change from here on makes another one.
	if e.generation, err = e.conn.Generation(); err != nil {
		return err
	}
	there, err := e.conn.Chains(netTable)
	if err != nil {
		return err
	}
	if e.installed.links == nil { // the first time: what an earlier run has left
		e.installed.links = placesOf(there)
	}
	p := e.draw(h, parents, held)
	for index, at := range p.links {
		if at.gate == (gate{}) {
			if err := makeGate(h, index); err != nil {
				return err
			}
			if h, err = look(); err != nil {
				return err
			}
		}
	}
	p = e.draw(h, parents, held)
	held = settle(h, p, held)
	count := map[element]int{}
	for _, k := range held {
		for _, el := range p.elementsOf(k) {
			count[el]++
		}
	}
	b := removal()
	if len(p.links) > 0 {
		b = p.batch(count, newSecrets(), there, anew)
	} else if e.purged {
		b = &nft.Batch{}
	}
	if err := e.apply(b); err != nil {
		return err
	}
	if err := removeGates(h, p); err != nil {
		e.log.Warn("links that are of no more use are left", "error", err)
	}
	if !e.installed.equal(p) {
		e.warn(h, p)
	}
	e.parents, e.held, e.count, e.installed = parents, held, count, p
	e.purged, e.failing, e.owed = len(p.links) == 0, false, nil
	return nil
}

// warn tells of what the host will miss.
func (e *Enforcer) warn(h *host, p picture) {
	for _, l := range h.byIndex {
		if at, ok := p.links[l.Attrs().ParentIndex]; ok && l.Type() == "vlan" && l.Attrs().NetNsID < 0 {
			e.log.Warn("a VLAN interface of the host's is on a parent on which it is enforced what containers may send; it does not work there: "+
				"give the containers a parent of their own", "interface", l.Attrs().Name, "parent", at.device)
		}
	}
}

// placesOf are the parents whose chains are there, but for their gates.
func placesOf(there []nft.Chain) map[int]place {
	places := map[int]place{}
	for _, c := range there {
		if index, ok := indexOfChain(c.Name); ok && c.Comment != "" {
			places[index] = place{c.Comment, c.Device, gate{}}
		}
	}
	return places
}

func indexOfChain(name string) (int, bool) {
	var index int
	if _, err := fmt.Sscanf(name, "parent_%d", &index); err != nil || chainOf(index) != name {
		return 0, false
	}
	return index, true
}

// batch turns what is there into the picture and the elements. Chains that are hooked
// stay so, and get other rules in one moment, so that no frame passes between two sets of
// rules, or meets none.
func (p picture) batch(count map[element]int, s secrets, there []nft.Chain, anew bool) *nft.Batch {
	b := &nft.Batch{}
	if anew {
		b, there = removal(), nil
	}
	for _, t := range []nft.Table{netTable, inetTable} {
		b.AddTable(t)
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		b.AddSet(netTable, name, sets[name]...)
	}
	b.AddSet(inetTable, setParents, nft.FieldLink)
	p.addChains(b, there)
	p.addRules(b, s)

	keys := map[string][]string{}
	for el := range count {
		keys[el.set] = append(keys[el.set], el.key)
	}
	for _, el := range p.host {
		keys[el.set] = append(keys[el.set], el.key)
	}
	for name, members := range constants {
		for i := range len(members) {
			keys[name] = append(keys[name], members[i:i+1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		b.FlushSet(netTable, name)
		b.AddElements(netTable, name, keys[name]...)
	}
	b.FlushSet(inetTable, setParents)
	b.AddElements(inetTable, setParents, p.leads...)
	return b
}

func (p picture) addChains(b *nft.Batch, there []nft.Chain) {
	wanted := map[string]string{} // device by chain
	for index, at := range p.links {
		wanted[chainOf(index)] = at.device
		wanted[gateChainOf(index)] = at.gate.device
	}
	for _, c := range there {
		device, want := wanted[c.Name]
		if !want && !slices.Contains(chains, c.Name) || want && device != c.Device {
			b.DeleteChain(netTable, c.Name)
		}
	}
	for _, name := range chains {
		b.AddChain(netTable, name, nil, "")
	}
	for index, at := range p.links {
		// Before the chains of others, who may look at the priority that is given back
		// here, and set another.
		hook := &nft.Hook{Number: unix.NF_NETDEV_EGRESS, Priority: math.MinInt32, Device: at.device, Drop: true}
		b.AddChain(netTable, chainOf(index), hook, at.name)
		hook = &nft.Hook{Number: unix.NF_NETDEV_INGRESS, Priority: math.MinInt32, Device: at.gate.device, Drop: true}
		b.AddChain(netTable, gateChainOf(index), hook, "")
	}
	b.AddChain(inetTable, chainPostrouting, &nft.Hook{Number: unix.NF_INET_POST_ROUTING, Priority: math.MaxInt32}, "")
}

func (p picture) addRules(b *nft.Batch, s secrets) {
	rules := p.rulesOf(s)
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		writeChain(b, netTable, name, rules[name])
	}
	writeChain(b, inetTable, chainPostrouting, []rule{mark(s.host)})
}

func writeChain(b *nft.Batch, t nft.Table, name string, rules []rule) {
	b.FlushChain(t, name)
	for _, r := range rules {
		b.AddRule(t, name, r...)
	}
}

// remark changes the secrets.
func (e *Enforcer) remark() error {
	s, b := newSecrets(), &nft.Batch{}
	rules := e.installed.rulesOf(s)
	writeChain(b, netTable, chainHost, rules[chainHost])
	writeChain(b, netTable, chainPass, rules[chainPass])
	writeChain(b, inetTable, chainPostrouting, []rule{mark(s.host)})
	return e.apply(b)
}
