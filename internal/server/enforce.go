package server

import (
	"fmt"
	"maps"
	"slices"

	"github.com/net-porter/net-porter/internal/cni"
)

// enforce finds out on which parent links what containers send is enforced, and which
// resources cannot be used for that.
func (c *catalog) enforce() {
	networks := map[string]*cni.Network{}
	for name := range c.resources {
		if n := c.conflists[name].network; n != nil {
			networks[name] = n
		}
	}
	c.enforced, c.unenforceable = Enforced(networks, func(name string) bool { return c.settings[name].Enforce })
	for _, parent := range slices.Sorted(maps.Keys(c.enforced)) {
		name := c.enforced[parent]
		if warning := networks[name].ReachesSiblings(); warning != "" {
			c.log.Warn(warning, "resource", name)
		}
	}
}

// Enforced says on which parent links what containers send is enforced, each with a
// resource that wants it, and why resources cannot be used for that. All that hangs on
// such a link has to be held to what it holds: so a resource that does not enforce cannot
// share it with one that does.
func Enforced(networks map[string]*cni.Network, wanted func(resource string) bool) (parents map[string]string, faults map[string]error) {
	parents, faults = map[string]string{}, map[string]error{}
	names := slices.Sorted(maps.Keys(networks))
	for _, name := range names {
		if !wanted(name) {
			continue
		}
		if err := networks[name].Enforceable(); err != nil {
			faults[name] = err
			continue
		}
		parents[networks[name].Masters()[0]] = name
	}
	for _, name := range names {
		if wanted(name) {
			continue
		}
		for _, parent := range networks[name].Masters() {
			if other := parents[parent]; other != "" {
				faults[name] = fmt.Errorf(
					`its parent link %s is also that of resource %s, which has "enforce": what does not hang on it under the same rule cannot send; write "enforce": true here, too, or use another parent`, parent, other)
			}
		}
	}
	return parents, faults
}

// EnforcedParents are the parent links on which what containers send is to be enforced, by
// the configuration that is in force; with Enforces, what attachment.Manager.Enforce goes by.
func (s *Server) EnforcedParents() []string {
	return slices.Sorted(maps.Keys(s.catalog.Load().enforced))
}

// Enforces says whether a resource has "enforce", and whether it is configured at all. Its
// network configuration has no say, which may be wrong or gone while containers run.
func (s *Server) Enforces(resource string) (wanted, known bool) {
	c := s.catalog.Load()
	_, known = c.resources[resource]
	return known && c.settings[resource].Enforce, known
}
