package nss

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// GroupsOf returns the supplementary groups that a user of that name gets at a login
// (initgroups(3)), ascending; the primary group is not looked up. A user whom nobody knows
// has none. The error says why nobody could be asked.
func (r *Resolver) GroupsOf(ctx context.Context, name string) ([]uint32, error) {
	if !askable(name) {
		return nil, nil
	}
	line, err := r.ask(ctx, "initgroups", name)
	var gids []uint32
	switch {
	case errors.Is(err, errNoGetent):
		gids, err = r.memberships(name)
	case err == nil:
		gids, err = parseGroups(name, line)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up the groups of user %q: %w", name, err)
	}
	slices.Sort(gids)
	return slices.Compact(gids), nil
}

// parseGroups parses the answer of `getent initgroups`: the name as it was asked for, and
// numbers.
func parseGroups(name, line string) ([]uint32, error) {
	list, ok := strings.CutPrefix(line, name)
	if !ok {
		return nil, errors.New("getent initgroups answered with another entry")
	}
	var gids []uint32
	for field := range strings.FieldsSeq(list) {
		gid, err := parseID(field)
		if err != nil {
			return nil, fmt.Errorf("getent initgroups answered with an entry that makes no sense: %w", err)
		}
		gids = append(gids, gid)
	}
	return gids, nil
}

// memberships reads the file of groups, whose last field lists the members.
func (r *Resolver) memberships(name string) ([]uint32, error) {
	var gids []uint32
	parse := func(line string) (string, error) { return line, nil }
	_, err := scanFile(r.group, parse, func(line string) bool {
		g, err := parseGroup(line)
		members := line[strings.LastIndexByte(line, ':')+1:]
		if err == nil && slices.Contains(strings.Split(members, ","), name) {
			gids = append(gids, g.GID)
		}
		return false
	})
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return gids, err
}
