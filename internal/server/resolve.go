package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/policy"
)

// Names resolves names of users and groups; *nss.Resolver is one.
type Names interface {
	UserByName(ctx context.Context, name string) (nss.User, error)
	GroupByName(ctx context.Context, name string) (nss.Group, error)
}

// Unknown is a name in the configuration that stands for nobody.
type Unknown struct {
	Resource, Key, Name string
	At                  config.Place // of the name, or of the grant that it is in
	Err                 error        // nss.ErrNotFound, or why nobody could be asked
}

// Message says so, without the name.
func (u Unknown) Message() string {
	if errors.Is(u.Err, nss.ErrNotFound) {
		return "a name in the configuration does not exist (yet) and allows nobody until the configuration is read again (systemctl reload net-porter)"
	}
	return "a name in the configuration cannot be looked up and allows nobody until the configuration is read again (systemctl reload net-porter)"
}

// Resolve turns the configuration's resources into rules of numbers. A name that
// does not resolve allows nobody; it is logged as a warning and looked up again when
// the configuration is read again.
func Resolve(ctx context.Context, resources []config.Resource, names Names, log *slog.Logger) []*policy.Resource {
	return ResolveTelling(ctx, resources, names, func(u Unknown) {
		log.Warn(u.Message(), "resource", u.Resource, "key", u.Key, "name", u.Name, "error", u.Err)
	})
}

// ResolveTelling is Resolve, but tells of names that do not resolve.
func ResolveTelling(ctx context.Context, resources []config.Resource, names Names, tell func(Unknown)) []*policy.Resource {
	rules := make([]*policy.Resource, 0, len(resources))
	for _, r := range resources {
		own := policy.Rules{Name: r.Name, MostPerUser: r.MaxAttachmentsPerUser}
		l := lookup{ctx, names, func(u Unknown) {
			u.Resource = r.Name
			if !slices.Contains(own.Unresolved, u.Name) {
				own.Unresolved = append(own.Unresolved, u.Name)
			}
			tell(u)
		}}
		own.Users = l.allowed(r.AllowUsers, "allow_users", l.user)
		own.Groups = l.allowed(r.AllowGroups, "allow_groups", l.group)
		for _, g := range r.Grants {
			own.Grants = append(own.Grants, policy.Grant{
				Rule: "grant at " + g.At.String(), IPs: g.StaticIPs, MACs: g.StaticMACs, Most: g.MaxAttachments,
				Users:  l.numbers(g.Users, "grants.users", g.At, l.user),
				Groups: l.numbers(g.Groups, "grants.groups", g.At, l.group),
			})
		}
		rules = append(rules, policy.NewResource(own))
	}
	return rules
}

// lookup finds the numbers of one resource's names.
type lookup struct {
	ctx   context.Context
	names Names
	tell  func(Unknown)
}

func (l lookup) user(name string) (uint32, error) {
	u, err := l.names.UserByName(l.ctx, name)
	return u.UID, err
}

func (l lookup) group(name string) (uint32, error) {
	g, err := l.names.GroupByName(l.ctx, name)
	return g.GID, err
}

// allowed gives each number the rule that allows it, as it was written and where.
func (l lookup) allowed(list []config.Allowed, key string, find func(string) (uint32, error)) map[uint32]string {
	rules := map[uint32]string{}
	for _, a := range list {
		if id, ok := l.number(a.Principal, key, a.At, find); ok && rules[id] == "" {
			rules[id] = fmt.Sprintf("%s %s at %s", key, a.Principal, a.At)
		}
	}
	return rules
}

func (l lookup) numbers(principals []config.Principal, key string, at config.Place, find func(string) (uint32, error)) []uint32 {
	var ids []uint32
	for _, p := range principals {
		if id, ok := l.number(p, key, at, find); ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (l lookup) number(p config.Principal, key string, at config.Place, find func(string) (uint32, error)) (uint32, bool) {
	if p.Numeric {
		return p.ID, true
	}
	id, err := find(p.Name)
	if err != nil {
		l.tell(Unknown{Key: key, Name: p.Name, At: at, Err: err})
	}
	return id, err == nil
}
