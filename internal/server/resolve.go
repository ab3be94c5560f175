package server

import (
	"context"
	"errors"
	"log/slog"

	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/policy"
)

// Names resolves names of users and groups; *nss.Resolver is one.
type Names interface {
	UserByName(ctx context.Context, name string) (nss.User, error)
	GroupByName(ctx context.Context, name string) (nss.Group, error)
}

// Resolve turns the configuration's resources into rules of numbers. A name that
// does not resolve allows nobody; it is logged as a warning and looked up again when
// the daemon starts again.
func Resolve(ctx context.Context, resources []config.Resource, names Names, log *slog.Logger) []policy.Resource {
	user := func(name string) (uint32, error) {
		u, err := names.UserByName(ctx, name)
		return u.UID, err
	}
	group := func(name string) (uint32, error) {
		g, err := names.GroupByName(ctx, name)
		return g.GID, err
	}
	rules := make([]policy.Resource, 0, len(resources))
	for _, r := range resources {
		l := log.With("resource", r.Name)
		rules = append(rules, policy.Resource{
			Name:   r.Name,
			Users:  numbers(r.AllowUsers, "allow_users", user, l),
			Groups: numbers(r.AllowGroups, "allow_groups", group, l),
		})
	}
	return rules
}

func numbers(principals []config.Principal, key string, lookup func(string) (uint32, error), log *slog.Logger) map[uint32]string {
	ids := map[uint32]string{}
	for _, p := range principals {
		id := p.ID
		if !p.Numeric {
			var err error
			if id, err = lookup(p.Name); err != nil {
				message := "a name in the configuration cannot be looked up and allows nobody until the daemon is restarted"
				if errors.Is(err, nss.ErrNotFound) {
					message = "a name in the configuration does not exist (yet) and allows nobody until the daemon is restarted"
				}
				log.Warn(message, "key", key, "name", p.Name, "error", err)
				continue
			}
		}
		ids[id] = key + " " + p.String()
	}
	return ids
}
