package server

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/policy"
)

// catalog is the resources of the configuration, and what they are made of.
type catalog struct {
	resources  map[string]policy.Resource
	settings   map[string]Settings
	configDir  string
	pluginDirs []string
	log        *slog.Logger
}

// permitted returns a resource that the caller may use. One that does not exist and
// one that is not for the caller give the same problem; the log tells which.
func (c *catalog) permitted(name string, id peer.Identity) (policy.Resource, policy.Decision, error) {
	resource, exists := c.resources[name]
	decision := policy.Use(subject(id), resource) // of no resource at all, it denies
	if exists && decision.Allowed {
		return resource, decision, nil
	}
	p := newProblem(api.ResourceNotFound, fmt.Sprintf(
		"there is no resource %.64q that you (uid %d) may use: `net-porter networks` lists yours; for another one ask the administrator to name you or a group of yours in the resource's allow_users or allow_groups (after a change of groups, log in again)",
		name, id.UID))
	p.cause = fmt.Errorf("resource %.64q is not configured", name)
	if exists {
		p.cause = fmt.Errorf("resource %.64q does not list the caller", name)
	}
	return policy.Resource{}, decision, p
}

func subject(id peer.Identity) policy.Subject {
	return policy.Subject{UID: id.UID, GIDs: append([]uint32{id.GID}, id.Groups...)}
}

// network loads a resource's conflist, from the file as it is now, and makes sure
// that what it needs is there. The problem tells the caller what is missing but not
// where; the cause does.
func (c *catalog) network(name string) (*cni.Network, error) {
	unavailable := func(detail string, cause error) error {
		p := newProblem(api.ResourceUnavailable, detail)
		p.cause = cause
		return p
	}
	network, err := cni.Load(c.configDir, name)
	switch {
	case errors.Is(err, cni.ErrNotFound):
		return nil, unavailable("resource "+name+" has no network configuration: the administrator has to put one into cni.d", err)
	case err != nil:
		return nil, unavailable("resource "+name+" has a network configuration that cannot be used: the administrator finds the reason with `net-porter check`", err)
	}
	for _, config := range network.DHCPConfigs() {
		if err := dhcp.CheckConfig(config); err != nil {
			return network, unavailable("resource "+name+" has a network configuration that cannot be used: the administrator finds the reason with `net-porter check`", err)
		}
	}
	if err := network.Check(c.pluginDirs); err != nil {
		return network, unavailable("resource "+name+" needs a CNI plugin that is missing or not safe to run: the administrator finds the reason with `net-porter check`", err)
	}
	for _, parent := range network.Masters() {
		if fault, err := parentFault(network, parent); err != nil {
			return network, unavailable(fmt.Sprintf("resource %s needs the parent link %s, %s", name, parent, fault), err)
		}
	}
	return network, nil
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
