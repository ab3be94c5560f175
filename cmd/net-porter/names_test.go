package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/server"
)

// directory is a source of names that a test has go away.
type directory struct {
	uid uint32
	err error
}

func (d *directory) UserByName(context.Context, string) (nss.User, error) {
	return nss.User{UID: d.uid}, d.err
}

func (d *directory) GroupByName(context.Context, string) (nss.Group, error) {
	return nss.Group{GID: d.uid}, d.err
}

// A directory that is down answers as one does that knows nobody: its names are known to
// be missing from the rules, for as long as that lasts, and so nothing is revoked for it.
func TestResourcesKnowWhatTheirNamesLack(t *testing.T) {
	d := &directory{uid: 7}
	log := slog.New(slog.DiscardHandler)
	k := newLastKnown(d, log)
	c, err := config.Parse("", []byte(`{"resources":[
		{"name":"named","allow_users":["alice",8],"allow_groups":["staff"],"grants":[{"users":["alice"],"groups":["web"],"max_attachments":2}]},
		{"name":"numbered","allow_users":[7]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name  string
		err   error
		lacks []string
	}{
		{"answers", nil, nil}, {"says that there are none", nss.ErrNotFound, []string{"alice", "staff", "web"}},
		{"cannot be asked", errors.New("no answer"), []string{"alice", "staff", "web"}}, {"answers again", nil, nil},
		{"cannot be asked, and all are known", errors.New("no answer"), nil},
	} {
		d.err = step.err
		rules := server.Resolve(t.Context(), c.Resources, k, log)
		if !slices.Equal(rules[0].Unresolved, step.lacks) || len(rules[1].Unresolved) > 0 {
			t.Errorf("the directory %s: missing are %q and %q, want %q and none", step.name, rules[0].Unresolved, rules[1].Unresolved, step.lacks)
		}
	}
}

// A reload while the directory is away takes nothing from those who are known; one who
// was removed from it is nobody any more, also when it is away later.
func TestNamesWhileTheDirectoryIsAway(t *testing.T) {
	var log bytes.Buffer
	away := errors.New("the directory does not answer")
	d := &directory{uid: 7, err: away}
	k := newLastKnown(d, slog.New(slog.NewTextHandler(&log, nil)))
	for _, step := range []struct {
		name string
		err  error
		want error
	}{
		{"never answered", away, away}, {"answers", nil, nil}, {"away", away, nil}, {"removed", nss.ErrNotFound, nss.ErrNotFound},
		{"away after that", away, away},
	} {
		d.err = step.err
		u, err := k.UserByName(t.Context(), "alice")
		if !errors.Is(err, step.want) || err == nil && u.UID != 7 {
			t.Errorf("%s: user %v, %v; want %v", step.name, u, err, step.want)
		}
		g, err := k.GroupByName(t.Context(), "alice")
		if !errors.Is(err, step.want) || err == nil && g.GID != 7 {
			t.Errorf("%s: group %v, %v; want %v", step.name, g, err, step.want)
		}
	}
	if n := strings.Count(log.String(), "cannot be looked up"); n != 2 {
		t.Errorf("logged %d times, want once for each name:\n%s", n, &log)
	}
}
