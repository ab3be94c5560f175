package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/server"
)

// lastKnown looks names up, and goes on with the last answer where none is to be had:
// a reload while LDAP is away must not take everybody's networks from them. That a name
// does not exist is an answer: it denies what is new, and revokes nothing.
type lastKnown struct {
	names server.Names
	log   *slog.Logger

	mu     sync.Mutex
	users  map[string]nss.User
	groups map[string]nss.Group
}

func newLastKnown(names server.Names, log *slog.Logger) *lastKnown {
	return &lastKnown{names: names, log: log, users: map[string]nss.User{}, groups: map[string]nss.Group{}}
}

// UserByName looks a user up.
func (k *lastKnown) UserByName(ctx context.Context, name string) (nss.User, error) {
	u, err := k.names.UserByName(ctx, name)
	return lastAnswer(k, k.users, name, u, err)
}

// GroupByName looks a group up.
func (k *lastKnown) GroupByName(ctx context.Context, name string) (nss.Group, error) {
	g, err := k.names.GroupByName(ctx, name)
	return lastAnswer(k, k.groups, name, g, err)
}

func lastAnswer[T any](k *lastKnown, answers map[string]T, name string, answer T, err error) (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		answers[name] = answer
		return answer, nil
	case errors.Is(err, nss.ErrNotFound):
		delete(answers, name)
		return answer, err
	}
	before, known := answers[name]
	if !known {
		return answer, err
	}
	k.log.Warn("a name in the configuration cannot be looked up and stands for what it stood for before", "name", name, "error", err)
	return before, nil
}
