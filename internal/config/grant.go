package config

import (
	"slices"
	"strconv"

	"github.com/net-porter/net-porter/internal/addrrange"
)

// place is where a value was written.
func (r *reader) place(n *node) Place { return Place{File: r.file, Line: r.line(n.at)} }

// line is that of an offset. A file may have tens of thousands of places.
func (r *reader) line(offset int) int {
	if r.newlines == nil {
		r.newlines = []int{}
		for i, c := range r.data {
			if c == '\n' {
				r.newlines = append(r.newlines, i)
			}
		}
	}
	before, _ := slices.BinarySearch(r.newlines, offset)
	return before + 1
}

// allowed takes a list of users or of groups, each once.
func (r *reader) allowed(raw []value[rawPrincipal]) []Allowed {
	var list []Allowed
	seen := make(map[Principal]bool)
	for _, item := range raw {
		p, ok := r.principal(item.at, item.what)
		switch {
		case !ok:
		case seen[p]:
			r.fault(item.at, "", "is in the list already: %s", quote(p.String()))
		default:
			seen[p] = true
			list = append(list, Allowed{p, r.place(item.at)})
		}
	}
	return list
}

func (r *reader) principals(raw []value[rawPrincipal]) []Principal {
	var list []Principal
	for _, a := range r.allowed(raw) {
		list = append(list, a.Principal)
	}
	return list
}

func (r *reader) grants(raw []value[rawGrant]) []Grant {
	var grants []Grant
	for _, item := range raw {
		g := Grant{
			Users:          r.principals(item.what.users.what),
			Groups:         r.principals(item.what.groups.what),
			StaticIPs:      rangesOf(r, item.what.staticIPs.what, addrrange.ParseIP),
			StaticMACs:     rangesOf(r, item.what.staticMACs.what, addrrange.ParseMAC),
			MaxAttachments: checked(item.what.maxAttachments, 0, r.quota),
			At:             r.place(item.at),
		}
		// What is at fault itself has been told.
		if len(item.what.users.what)+len(item.what.groups.what) == 0 && !item.what.users.bad() && !item.what.groups.bad() {
			r.fault(item.at, `name somebody in "users" or "groups"`, "grants to nobody")
		}
		if len(item.what.staticIPs.what)+len(item.what.staticMACs.what) == 0 && item.what.maxAttachments.at == nil &&
			!item.what.staticIPs.bad() && !item.what.staticMACs.bad() {
			r.fault(item.at, `add "static_ips", "static_macs" or "max_attachments", or name the users in the resource's allow_users`,
				"grants nothing")
		}
		grants = append(grants, g)
	}
	return grants
}

// bad says whether the value was written and could not be read.
func (v value[T]) bad() bool { return v.at != nil && !v.ok }

// rangesOf takes a list of ranges, of which no two have an address in common.
func rangesOf[T interface {
	Overlaps(T) bool
	String() string
}](r *reader, raw []value[string], parse func(string) (T, error)) []T {
	var ranges []T
	for _, item := range raw {
		parsed, err := parse(item.what)
		if err != nil {
			r.fault(item.at, "", "cannot be used: %s", err)
			continue
		}
		fresh := true
		for _, before := range ranges {
			if before.Overlaps(parsed) {
				r.fault(item.at, "write each address once", "has addresses in common with %s, which is in the list already: %s", before, quote(item.what))
				fresh = false
				break
			}
		}
		if fresh {
			ranges = append(ranges, parsed)
		}
	}
	return ranges
}

// quota takes a number of attachments. Zero would be a grant of nothing, and reads like
// one without a bound.
func (r *reader) quota(at *node, text string) (int, bool) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxQuota {
		hint := ""
		if text == "0" {
			hint = "leave the key out to have no bound; to allow nobody, take the users out"
		}
		r.fault(at, hint, "must be a whole number from 1 to %d, not %s", MaxQuota, shorten(text))
		return 0, false
	}
	return n, true
}
