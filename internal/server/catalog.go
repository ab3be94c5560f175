package server

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/policy"
)

// Configuration is what requests are answered by. What is in it must not be changed
// any more once a Server has it.
type Configuration struct {
	Resources []*policy.Resource
	// MostPerUser is how many attachments a user may have on all resources together; 0:
	// any number.
	MostPerUser int
	Settings    map[string]Settings // by resource; those of a resource that is left out are zero
	ConfigDir   string              // of conflists
	CNI         cni.Settings        // by which plugins are looked up and run
	Limits      config.Limits
}

// Configure puts another configuration in force, as a whole: a request that has begun
// is answered by the one before, to its end. Attachments that are made stay.
//
// The conflists are read, too. For one that cannot be used the one before stays in
// force, if there is any, and the error says so; all else is in force nevertheless, so
// that no mistake in one resource's file keeps another's users from being denied.
func (s *Server) Configure(c Configuration) error {
	before := s.catalog.Load()
	next := &catalog{
		resources: make(map[string]*policy.Resource, len(c.Resources)), mostPerUser: c.MostPerUser, settings: c.Settings,
		conflists: make(map[string]conflist, len(c.Resources)), cni: c.CNI, log: s.log,
	}
	next.number = 1
	if before != nil {
		next.number = before.number + 1
	}
	var faults []error
	for _, r := range c.Resources {
		next.resources[r.Name] = r
		s.metrics.Offer(r.Name)
		var own conflist
		own.network, own.err = cni.Load(c.ConfigDir, r.Name)
		if own.err != nil && !errors.Is(own.err, cni.ErrNotFound) {
			faults = append(faults, own.err)
			if before != nil && before.conflists[r.Name].network != nil {
				own = before.conflists[r.Name]
			}
		}
		next.conflists[r.Name] = own
	}
	next.enforce()
	s.catalog.Store(next)
	s.SetLimits(c.Limits)
	s.monitor.lookAgain()
	return errors.Join(faults...)
}

// Number counts the configurations that have been in force; records of decisions have it,
// as those of reloads.
func (s *Server) Number() uint64 { return s.catalog.Load().number }

// conflist is a resource's network, or why there is none.
type conflist struct {
	network *cni.Network
	err     error
}

// catalog is the resources of a configuration, and what they are made of. It is
// never changed.
type catalog struct {
	number      uint64 // of the configuration, since the daemon's start
	resources   map[string]*policy.Resource
	mostPerUser int
	settings    map[string]Settings
	conflists   map[string]conflist
	// enforced has the parent links with "enforce", and a resource that wants it;
	// unenforceable has the resources that cannot be used for its sake.
	enforced      map[string]string
	unenforceable map[string]error
	cni           cni.Settings
	log           *slog.Logger
}

// permitted returns a resource that the caller may use. One that does not exist and
// one that is not for the caller give the same problem; the log tells which.
func (c *catalog) permitted(name string, id peer.Identity) (*policy.Resource, policy.Decision, error) {
	resource, exists := c.resources[name]
	decision := policy.Use(subject(id), resource) // of no resource at all, it denies
	if exists && decision.Allowed {
		return resource, decision, nil
	}
	p := newProblem(api.ResourceNotFound, fmt.Sprintf(
		"there is no resource %.64q that you (uid %d) may use: `net-porter networks` lists yours; for another one ask the administrator to name you or a group of yours in the resource's allow_users, allow_groups or grants (after a change of groups, log in again)",
		name, id.UID))
	p.cause = fmt.Errorf("resource %.64q is not configured", name)
	if exists {
		p.cause = fmt.Errorf("resource %.64q does not list the caller", name)
	}
	return nil, decision, p
}

func subject(id peer.Identity) policy.Subject {
	return policy.Subject{UID: id.UID, GIDs: append([]uint32{id.GID}, id.Groups...)}
}

// network is what a resource's conflist says, where all that it needs is there. The problem tells the caller what is missing but not
// where; the cause does.
func (c *catalog) network(name string) (*cni.Network, error) {
	network, err := c.usable(name)
	if err != nil {
		return network, err
	}
	for _, parent := range network.Masters() {
		if fault, err := ParentFault(network, parent); err != nil {
			return network, unavailable(fmt.Sprintf("resource %s needs the parent link %s, %s", name, parent, fault), err)
		}
	}
	return network, nil
}

func unavailable(detail string, cause error) error {
	p := newProblem(api.ResourceUnavailable, detail)
	p.cause = cause
	return p
}

// usable is network without a look at the parent links.
func (c *catalog) usable(name string) (*cni.Network, error) {
	network, err := c.conflists[name].network, c.conflists[name].err
	switch {
	case errors.Is(err, cni.ErrNotFound):
		return nil, unavailable("resource "+name+" has no network configuration: the administrator has to put one into cni.d", err)
	case err != nil:
		return nil, unavailable("resource "+name+" has a network configuration that cannot be used: the administrator finds the reason with `net-porter check`", err)
	}
	network = network.WithSettings(&c.cni)
	if err := c.unenforceable[name]; err != nil {
		return network, unavailable("what containers of resource "+name+" send cannot be enforced as it is configured: the administrator finds the reason with `net-porter check`", err)
	}
	if err := errors.Join(Unusable(network)...); err != nil {
		return network, unavailable("resource "+name+" has a network configuration that cannot be used: the administrator finds the reason with `net-porter check`", err)
	}
	if err := network.Check(c.cni.PluginDirs); err != nil {
		return network, unavailable("resource "+name+" needs a CNI plugin that is missing or not safe to run: the administrator finds the reason with `net-porter check`", err)
	}
	return network, nil
}

// Unusable says all that keeps a network configuration from being used as it is written,
// whatever this host has.
func Unusable(network *cni.Network) []error {
	var faults []error
	for _, config := range network.DHCPConfigs() {
		if err := dhcp.CheckConfig(config); err != nil {
			faults = append(faults, err)
		}
	}
	if err := network.CheckParents(); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// forCaller lists what the caller may use, by name.
func (c *catalog) forCaller(id peer.Identity) []api.Network {
	networks := []api.Network{}
	for name, resource := range c.resources {
		if policy.Use(subject(id), resource).Allowed {
			networks = append(networks, c.describe(name))
		}
	}
	slices.SortFunc(networks, func(a, b api.Network) int { return strings.Compare(a.Name, b.Name) })
	return networks
}

func (c *catalog) describe(name string) api.Network {
	n := api.Network{Name: name, Ready: true}
	network, err := c.network(name)
	if err != nil {
		n.Ready, n.Reason = false, problemOf(err).detail
		c.log.Debug("a resource is not ready", "resource", name, "error", err)
	}
	if network != nil {
		n.Plugins = network.Types()
	}
	return n
}
