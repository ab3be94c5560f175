package doctor

import (
	"context"
	"fmt"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/server"
)

// resources looks at what the daemon gives to who asks.
func (e *examination) resources(ctx context.Context) {
	e.area = "Resources"
	if !e.subject.self {
		e.resourcesByRules(ctx)
		return
	}
	if !e.said {
		e.unknown("resources.allowed", "which resources there are for %s the daemon would have to say", e.subject.name)
		return
	}
	var list api.NetworkList
	if err := e.get(ctx, "/v1/networks", &list); err != nil {
		e.add(Problem, "resources.allowed", fmt.Sprintf("the daemon does not say which resources there are: %v", err), "")
		return
	}
	e.offered, e.told = list.Networks, true
	e.noneAllowed()
	for _, n := range list.Networks {
		if n.Ready {
			e.ok("resources.ready", "%s may use the resource %s, and it is ready", e.subject.name, n.Name)
		} else {
			e.add(Problem, "resources.ready", fmt.Sprintf("the resource %s cannot be used now: %s", n.Name, n.Reason), "as root: net-porter check")
		}
	}
}

// noneAllowed tells where there is nothing to be had. Root who looks need not have
// containers there.
func (e *examination) noneAllowed() {
	switch {
	case len(e.offered) > 0:
	case e.subject.UID == 0:
		e.ok("resources.allowed", "there is no resource for root's own containers")
	default:
		e.add(Problem, "resources.allowed", "there is no resource that "+e.subject.name+" may use",
			"ask the administrator for a line in "+e.o.Config+`: "allow_users": ["`+e.subject.name+`"] of a resource`)
	}
}

// resourcesByRules finds out what somebody else may use, as the daemon tells that to
// themselves alone: by the rules that are written, and by the groups of a new login.
func (e *examination) resourcesByRules(ctx context.Context) {
	if e.checked == nil || e.checked.Config == nil {
		e.unknown("resources.allowed", "what %s may use cannot be told without the configuration", e.subject.name)
		return
	}
	who := policy.Subject{UID: e.subject.UID, GIDs: e.subject.groups}
	rules := server.ResolveTelling(ctx, e.checked.Config.Resources, e.names, func(server.Unknown) {})
	e.told = true
	for _, r := range rules {
		if policy.Attach(who, r, policy.Request{}).Allowed {
			e.offered = append(e.offered, offer{Name: r.Name})
			e.ok("resources.allowed", "%s may use the resource %s, as the configuration is written", e.subject.name, r.Name)
		}
	}
	e.noneAllowed()
}
