package check

import (
	"errors"
	"fmt"
	"slices"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/hostlink"
	"github.com/net-porter/net-porter/internal/server"
)

// conflists reads the conflists of all resources, and returns those that can be read by
// resource.
func (r *Report) conflists(c *config.Config) map[string]*cni.Network {
	networks := map[string]*cni.Network{}
	for _, resource := range c.Resources {
		n, err := cni.Load(c.CNI.ConfigDir, resource.Name)
		if err != nil {
			r.conflistFault(resource, err, nil)
			continue
		}
		networks[resource.Name] = n
		for _, err := range server.Unusable(n) {
			r.conflistFault(resource, err, n)
		}
		for _, remark := range n.Remarks() {
			r.add(Finding{
				Severity: Warning, File: n.File(), Line: remark.Line, Column: remark.Column, Resource: resource.Name, Message: remark.Text,
			})
		}
	}
	return networks
}

// conflistFault adds what keeps a resource's conflist, n if it could be read, from being used.
func (r *Report) conflistFault(resource config.Resource, err error, n *cni.Network) {
	f := Finding{Severity: Error, File: resource.At.File, Line: resource.At.Line, Resource: resource.Name, Message: err.Error()}
	if n != nil {
		f.File = n.File()
		f.Line, f.Column = n.IPAMPlace("dhcp") // of which the lease service has told
	}
	if at, ok := errors.AsType[*cni.ConfigError](err); ok {
		f.File, f.Line, f.Column, f.Message = at.File, at.Line, at.Column, "cannot use this network configuration: "+at.Reason
	}
	if errors.Is(err, cni.ErrNotFound) {
		f.Hint = "the resource cannot be used before there is one"
	}
	r.add(f)
}

// sharedNames looks for networks of one name: plugins keep what they allocate under it,
// so that one network's garbage is the other's addresses.
func (r *Report) sharedNames(c *config.Config, networks map[string]*cni.Network) {
	first := map[string]config.Resource{}
	for _, resource := range c.Resources {
		n := networks[resource.Name]
		if n == nil {
			continue
		}
		before, shared := first[n.CNIName()]
		if !shared {
			first[n.CNIName()] = resource
			continue
		}
		line, column := n.NamePlace()
		r.add(Finding{
			Severity: Warning, File: n.File(), Line: line, Column: column, Resource: resource.Name,
			Message: fmt.Sprintf("the network's name is %q, as that of resource %s (%s) is, so that plugins keep the state of both in one place",
				n.CNIName(), before.Name, networks[before.Name].File()),
			Hint: "give each a \"name\" of its own before it is used",
		})
	}
}

// plugins looks for the chains' plugins.
func (r *Report) plugins(c *config.Config, networks map[string]*cni.Network) {
	for _, resource := range c.Resources {
		n := networks[resource.Name]
		if n == nil {
			continue
		}
		if err := n.Check(c.CNI.PluginDirs); err != nil {
			for _, fault := range config.Flat(err) {
				r.add(Finding{Severity: Error, File: n.File(), Resource: resource.Name, Message: fault.Error()})
			}
		}
	}
}

// parents looks at the links of this host that the chains need.
func (r *Report) parents(c *config.Config, networks map[string]*cni.Network) {
	for _, resource := range c.Resources {
		n := networks[resource.Name]
		if n == nil {
			continue
		}
		for _, parent := range n.Masters() {
			line, column := n.MasterPlace(parent)
			at := Finding{Severity: Error, File: n.File(), Line: line, Column: column, Resource: resource.Name}
			words, err := server.ParentFault(n, parent)
			switch {
			case words != "":
				at.Message = fmt.Sprintf("it needs the parent link %s, %s", parent, words)
			case err != nil:
				at.Message = err.Error()
			case hostlink.Wireless(parent) && slices.Contains(n.Types(), "macvlan"):
				at.Severity = Warning
				at.Message = fmt.Sprintf("the parent link %s is wireless, and an access point passes no frames of MAC addresses that are not its client's own: containers with macvlan hear nothing", parent)
				at.Hint = "take a wired link, or ipvlan"
			default:
				continue
			}
			r.add(at)
		}
	}
}
