package config

import (
	"fmt"
	"strings"

	"github.com/net-porter/net-porter/internal/addrrange"
)

// MaxACLSize bounds a file of [LoadACL] in bytes. The program that it was written for reads
// no larger ones.
const MaxACLSize = 64 << 10

// ACL is a file of the acl.d of the net-porter that is written in Zig, as its versions 1.0
// to 1.5 read it: <user>.json, or @<name>.json, which is a collection that users' files name.
type ACL struct {
	// User and Group are of versions before 1.0, in which the file's name said nothing;
	// empty: not written.
	User, Group ACLName
	Collections []ACLName // the key "groups"; these are not the system's groups
	Grants      []ACLGrant
}

// ACLName is a name and where it was written.
type ACLName struct {
	Name string
	At   Place
}

// ACLGrant is what a file grants on one resource. Ranges may have addresses in common.
type ACLGrant struct {
	Resource   string // a name as of Resource.Name
	StaticIPs  []addrrange.IP
	StaticMACs []addrrange.MAC
	At         Place
}

type rawACL struct {
	user, group value[string]
	groups      value[[]value[string]]
	grants      value[[]value[rawACLGrant]]
}

func (a *rawACL) keys() []key {
	return []key{
		{name: "user", read: one(&a.user, text)},
		{name: "group", read: one(&a.group, text)},
		{name: "groups", read: many(&a.groups, text)},
		{name: "grants", read: many(&a.grants, object[rawACLGrant])},
	}
}

type rawACLGrant struct {
	resource  value[string]
	ips, macs value[[]value[string]]
}

func (g *rawACLGrant) keys() []key {
	return []key{
		{name: "resource", required: true, read: one(&g.resource, text)},
		{name: "ips", read: many(&g.ips, text)},
		{name: "macs", read: many(&g.macs, text)},
	}
}

// LoadACL reads a file of an acl.d. Like [Load] it takes none that others than root and the
// running user can write, and is strict: a key that is not known is an error, though the
// program that the file was written for passes over it, since it may have been meant to take
// something away. Errors are *[Error].
func LoadACL(path string) (*ACL, error) {
	data, err := readTrusted(path)
	if err != nil {
		return nil, err
	}
	return ParseACL(path, data)
}

// ParseACL is [LoadACL] for what has been read already.
func ParseACL(path string, data []byte) (*ACL, error) {
	if len(data) > MaxACLSize {
		return nil, &Error{File: path, Message: fmt.Sprintf("the file is larger than %d KiB", MaxACLSize>>10),
			Hint: "the Zig net-porter reads no larger ones"}
	}
	r, raw, err := read[rawACL](source{path, data})
	if err != nil {
		return nil, err
	}
	acl := &ACL{User: r.aclName(raw.user), Group: r.aclName(raw.group)}
	for _, item := range raw.groups.what {
		acl.Collections = append(acl.Collections, r.aclName(item))
	}
	for _, item := range raw.grants.what {
		acl.Grants = append(acl.Grants, ACLGrant{
			Resource:   checked(item.what.resource, "", r.resourceName),
			StaticIPs:  aclRanges(r, item.what.ips.what, addrrange.ParseIP),
			StaticMACs: aclRanges(r, item.what.macs.what, addrrange.ParseMAC),
			At:         r.place(item.at),
		})
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return acl, nil
}

func (r *reader) aclName(v value[string]) ACLName {
	if !v.ok {
		return ACLName{}
	}
	return ACLName{v.what, r.place(v.at)}
}

// aclRanges takes ranges as the Zig net-porter writes them: single ones and first-last, with
// spaces around the dash if need be.
func aclRanges[T any](r *reader, raw []value[string], parse func(string) (T, error)) []T {
	var ranges []T
	for _, item := range raw {
		if strings.Contains(item.what, "/") {
			r.fault(item.at, "write the first and the last address with a dash between them",
				"is no range to the Zig net-porter, to which it grants nothing: %s", quote(item.what))
			continue
		}
		first, last, isRange := strings.Cut(item.what, "-")
		spec := first
		if isRange {
			spec = strings.Trim(first, " ") + "-" + strings.Trim(last, " ")
		}
		parsed, err := parse(spec)
		if err != nil {
			r.fault(item.at, "", "cannot be used: %s", err)
			continue
		}
		ranges = append(ranges, parsed)
	}
	return ranges
}
