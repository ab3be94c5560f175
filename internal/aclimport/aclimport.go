// Package aclimport makes a file of config.d of the acl.d of the net-porter that is written
// in Zig, for those who come from it: what its versions 1.0 to 1.5 grant is granted, and no
// more. What those versions pass over, and what means something else here, is told.
package aclimport

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/net-porter/net-porter/internal/addrrange"
	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/config"
)

// File is a file of config.d (net-porter.json(5)).
type File struct {
	Resources []*Resource `json:"resources"` // by name
}

// Resource is one of a File.
type Resource struct {
	Name       string   `json:"name"`
	AllowUsers []string `json:"allow_users,omitempty"` // in order, each once
	Grants     []Grant  `json:"grants,omitempty"`
}

// Grant is what a line of acl.d has granted.
type Grant struct {
	Users      []string `json:"users"` // in order, each once
	StaticIPs  []string `json:"static_ips,omitempty"`
	StaticMACs []string `json:"static_macs,omitempty"`
}

var (
	// userName is what the Zig net-porter takes for the name of a user (src/user.zig).
	userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,31}$`)
	// collectionName is what it takes for that of a collection (src/worker/AclManager.zig).
	collectionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	number         = regexp.MustCompile(`^[0-9]+$`)
)

// file is one of the folder, read.
type file struct {
	name string // the user's or the collection's
	path string
	acl  *config.ACL
	// users are whose file it is, or who name it.
	users []string
}

// Read reads an acl.d. What it returns is nil if there is an error among the findings, each
// of which says why, with file and line.
func Read(dir string) (*File, []check.Finding) {
	i := importer{dir: dir, collections: map[string]*file{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if inner := new(fs.PathError); errors.As(err, &inner) {
			err = inner.Err
		}
		i.add(check.Error, config.Place{File: dir}, "", "cannot read the folder: %v", err)
		return nil, i.findings
	}
	for _, entry := range entries {
		i.read(entry)
	}
	for _, f := range i.users {
		i.refer(f)
	}
	out := i.file()
	if slices.ContainsFunc(i.findings, func(f check.Finding) bool { return f.Severity == check.Error }) {
		return nil, i.findings
	}
	return out, i.findings
}

type importer struct {
	dir         string
	users       []*file // by name
	collections map[string]*file
	findings    []check.Finding
}

func (i *importer) add(s check.Severity, at config.Place, hint, format string, args ...any) {
	i.findings = append(i.findings, check.Finding{Severity: s, File: at.File, Line: at.Line, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// read reads one entry of the folder, or says why not.
func (i *importer) read(entry fs.DirEntry) {
	path := filepath.Join(i.dir, entry.Name())
	skip := func(why string) { i.add(check.Warning, config.Place{File: path}, "", "is left out: %s", why) }
	name, isJSON := strings.CutSuffix(entry.Name(), ".json")
	collection, isCollection := strings.CutPrefix(name, "@")
	switch {
	case !isJSON:
		skip("its name does not end in .json, so that the Zig net-porter does not read it")
		return
	case !entry.Type().IsRegular():
		skip("it is not a regular file, and the Zig net-porter reads no others")
		return
	case isCollection && !collectionName.MatchString(collection), !isCollection && !userName.MatchString(name):
		skip("the Zig net-porter takes this for the name of nobody")
		return
	case number.MatchString(name):
		skip("here a number is a user id, there it is a user's name; write the user's rules by hand")
		return
	}
	acl, err := config.LoadACL(path)
	if err != nil {
		for _, fault := range config.Flat(err) {
			i.findings = append(i.findings, check.Fault(path, fault))
		}
		return
	}
	f := &file{name: name, path: path, acl: acl}
	i.older(f)
	if isCollection {
		i.collections[collection] = f
		for _, c := range acl.Collections {
			i.add(check.Warning, c.At, "", "%q is left out: only users' files name collections", c.Name)
		}
		return
	}
	f.users = []string{name}
	i.users = append(i.users, f)
}

// older refuses a file that means one thing to versions before 1.0, and another since.
func (i *importer) older(f *file) {
	const hint = "take the key out if the file's name is right; for grants to a group of the system, write allow_groups or groups of a grant by hand"
	if f.acl.Group.At.Line > 0 {
		i.add(check.Error, f.acl.Group.At, hint, `"group" said until version 0.6 for whom the file is, and says nothing since 1.0`)
	}
	if f.acl.User.At.Line > 0 && f.acl.User.Name != f.name {
		i.add(check.Error, f.acl.User.At, hint, `"user" said until version 0.6 for whom the file is; since 1.0 it is for %q by its name, and not for %q`, f.name, f.acl.User.Name)
	}
}

// refer enters a user into the collections that the user's file names.
func (i *importer) refer(f *file) {
	for _, c := range f.acl.Collections {
		named := i.collections[c.Name]
		switch {
		case named == nil:
			i.add(check.Warning, c.At, "", "there is no @%s.json that could be read: %s has nothing by it", c.Name, f.name)
		case !slices.Contains(named.users, f.name):
			named.users = append(named.users, f.name)
		}
	}
}

// file makes rules of what was read.
func (i *importer) file() *File {
	all := slices.Clone(i.users)
	for _, f := range i.collections {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *file) int { return cmp.Compare(a.path, b.path) })
	resources := map[string]*Resource{}
	for _, f := range all {
		if len(f.acl.Grants) == 0 {
			i.add(check.Warning, config.Place{File: f.path}, "", "grants nothing")
		} else if len(f.users) == 0 {
			i.add(check.Warning, config.Place{File: f.path}, "", "is left out: no user's file names it")
			continue
		}
		for _, g := range f.acl.Grants {
			if resources[g.Resource] == nil {
				resources[g.Resource] = &Resource{Name: g.Resource}
			}
			i.grant(resources[g.Resource], f.users, g)
		}
	}
	out := &File{Resources: []*Resource{}}
	for _, r := range resources {
		slices.Sort(r.AllowUsers)
		r.AllowUsers = slices.Compact(r.AllowUsers)
		out.Resources = append(out.Resources, r)
	}
	slices.SortFunc(out.Resources, func(a, b *Resource) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// grant adds one line's grant. Whoever is granted an address may use the resource.
func (i *importer) grant(r *Resource, users []string, g config.ACLGrant) {
	if len(g.StaticIPs)+len(g.StaticMACs) == 0 {
		r.AllowUsers = append(r.AllowUsers, users...)
		return
	}
	if len(g.StaticIPs) > 0 {
		i.add(check.Warning, g.At, "take static_ips out of the output if that is not meant",
			"on a resource with DHCP the Zig net-porter takes no notice of ips; here these addresses may be asked for with podman run --ip")
	}
	r.Grants = append(r.Grants, Grant{
		Users:      users,
		StaticIPs:  texts(joined(g.StaticIPs, func(a, b addrrange.IP) int { return a.First.Compare(b.First) }, joinIP)),
		StaticMACs: texts(joined(g.StaticMACs, func(a, b addrrange.MAC) int { return cmp.Compare(a.First, b.First) }, joinMAC)),
	})
}

// joined makes one range of those that have addresses in common, since config.d has each once.
func joined[T interface{ Overlaps(T) bool }](ranges []T, order func(a, b T) int, join func(a, b T) T) []T {
	ranges = slices.Clone(ranges)
	slices.SortStableFunc(ranges, order)
	var out []T
	for _, r := range ranges {
		if last := len(out) - 1; last >= 0 && out[last].Overlaps(r) {
			out[last] = join(out[last], r)
			continue
		}
		out = append(out, r)
	}
	return out
}

func joinIP(a, b addrrange.IP) addrrange.IP {
	if a.Last.Less(b.Last) {
		a.Last = b.Last
	}
	return a
}

func joinMAC(a, b addrrange.MAC) addrrange.MAC {
	a.Last = max(a.Last, b.Last)
	return a
}

func texts[T fmt.Stringer](ranges []T) []string {
	var out []string
	for _, r := range ranges {
		out = append(out, r.String())
	}
	return out
}
