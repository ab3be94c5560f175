package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/net-porter/net-porter/internal/addrrange"
)

// Rules are one resource's, with every name resolved to its number.
type Rules struct {
	Name string
	// Users and Groups may use the resource, with addresses that it gives: uid or gid to
	// the rule as the administrator wrote it.
	Users, Groups map[uint32]string
	// Grants say who may have what besides. Whoever has one may use the resource, too.
	Grants []Grant
	// MostPerUser is how many attachments a user may have on the resource whose grants do
	// not say; 0: any number.
	MostPerUser int
	// Unresolved are names of users and groups whose numbers nobody could tell: what is
	// said of them is missing here, so that the rules deny more than was written.
	Unresolved []string
}

// Grant is what some users may have beyond an address that the resource gives.
type Grant struct {
	Rule          string // where the administrator wrote it
	Users, Groups []uint32
	IPs           []addrrange.IP
	MACs          []addrrange.MAC
	// Most is how many attachments each of the users may have on the resource; 0: the
	// grant does not say.
	Most int
}

// Resource is one resource's rules, in an order in which a decision takes hardly longer
// the more there are.
type Resource struct {
	Rules
	users, groups map[uint32]*granted
}

// granted is all that the grants give to one user, or to one group.
type granted struct {
	rule string // of the first grant
	most int    // the greatest
	ips  table[netip.Addr]
	macs table[uint64]
}

// NewResource puts rules in order. They must not be changed afterwards.
func NewResource(rules Rules) *Resource {
	r := &Resource{Rules: rules, users: map[uint32]*granted{}, groups: map[uint32]*granted{}}
	for i := range rules.Grants {
		g := &rules.Grants[i]
		for _, uid := range g.Users {
			g.giveTo(r.users, uid)
		}
		for _, gid := range g.Groups {
			g.giveTo(r.groups, gid)
		}
	}
	for _, to := range []map[uint32]*granted{r.users, r.groups} {
		for _, all := range to {
			all.ips.sort(netip.Addr.Compare)
			all.macs.sort(cmp.Compare[uint64])
		}
	}
	return r
}

func (g *Grant) giveTo(to map[uint32]*granted, id uint32) {
	all := to[id]
	if all == nil {
		all = &granted{rule: g.Rule}
		to[id] = all
	}
	all.most = max(all.most, g.Most)
	for _, ip := range g.IPs {
		all.ips = append(all.ips, piece[netip.Addr]{ip.First, ip.Last, g.Rule})
	}
	for _, mac := range g.MACs {
		all.macs = append(all.macs, piece[uint64]{mac.First, mac.Last, g.Rule})
	}
}

// of returns the list entry that names the subject, "" if none does, and what grants give
// to it: as a user, then by its groups in their order, so that the rule named is always
// the same one. Nobody has anything on no resource at all.
func (r *Resource) of(s Subject) (allow string, grants []*granted) {
	if r == nil {
		return "", nil
	}
	allow = r.Users[s.UID]
	if g := r.users[s.UID]; g != nil {
		grants = append(grants, g)
	}
	gids := slices.Clone(s.GIDs)
	slices.Sort(gids)
	for _, gid := range slices.Compact(gids) {
		if allow == "" {
			allow = r.Groups[gid]
		}
		if g := r.groups[gid]; g != nil {
			grants = append(grants, g)
		}
	}
	return allow, grants
}

// piece is a range and the rule that gives it.
type piece[T any] struct {
	first, last T
	rule        string
}

// table is ranges by their beginnings, and by their ends.
type table[T any] []piece[T]

// sort puts the ranges in order and leaves out those that lie within another.
func (t *table[T]) sort(compare func(a, b T) int) {
	slices.SortStableFunc(*t, func(a, b piece[T]) int {
		return cmp.Or(compare(a.first, b.first), compare(b.last, a.last))
	})
	kept := (*t)[:0]
	for _, p := range *t {
		if len(kept) == 0 || compare(p.last, kept[len(kept)-1].last) > 0 {
			kept = append(kept, p)
		}
	}
	*t = kept
}

// find returns the rule that gives a value, "" if none does.
func (t table[T]) find(value T, compare func(a, b T) int) string {
	// Of those that end at it or later, the first begins earliest.
	i, _ := slices.BinarySearchFunc(t, value, func(p piece[T], v T) int { return compare(p.last, v) })
	if i < len(t) && compare(t[i].first, value) <= 0 {
		return t[i].rule
	}
	return ""
}
