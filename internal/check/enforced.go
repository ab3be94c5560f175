package check

import (
	"slices"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/enforce"
	"github.com/net-porter/net-porter/internal/server"
)

// enforced looks at the resources with "enforce", and at those that share their parents;
// with host also whether this kernel can do it.
func (r *Report) enforced(c *config.Config, networks map[string]*cni.Network, host bool) {
	wants := func(name string) bool {
		return slices.ContainsFunc(c.Resources, func(r config.Resource) bool { return r.Name == name && r.Enforce })
	}
	_, faults := server.Enforced(networks, wants)
	for _, resource := range c.Resources {
		n := networks[resource.Name]
		if n == nil {
			continue
		}
		at := Finding{File: n.File(), Resource: resource.Name}
		if err := faults[resource.Name]; err != nil {
			at.Severity, at.Message = Error, err.Error()
			r.add(at)
			continue
		}
		if warning := n.ReachesSiblings(); resource.Enforce && warning != "" {
			at.Severity, at.Message = Warning, warning
			r.add(at)
		}
	}
	if first := slices.IndexFunc(c.Resources, func(r config.Resource) bool { return r.Enforce }); host && first >= 0 {
		if err := enforce.Supported(); err != nil {
			resource := c.Resources[first]
			r.add(Finding{Severity: Error, File: resource.At.File, Line: resource.At.Line, Resource: resource.Name, Message: err.Error()})
		}
	}
}
