package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/server"
)

// answer is what `net-porter check --as` says. Its JSON is what scripts read.
type answer struct {
	Allowed  bool     `json:"allowed"`
	User     string   `json:"user,omitempty"` // "" for a number without a name
	UID      uint32   `json:"uid"`
	Groups   []uint32 `json:"groups"` // the primary one first
	Given    bool     `json:"groups_given"`
	Resource string   `json:"resource"`
	Rules    []string `json:"rules,omitempty"` // by which it is allowed
	// MaxAttachments is how many the user may have on the resource, MaxInAll on all
	// resources together; 0: any number.
	MaxAttachments int `json:"max_attachments,omitempty"`
	MaxInAll       int `json:"max_attachments_in_all,omitempty"`
	// Refused is why not; Told is what the user sees then.
	Refused string `json:"refused,omitempty"`
	Told    string `json:"told,omitempty"`
}

// preview says what a user would be answered, by the rules that the daemon makes of the
// files as they are now.
func (f *checkFlags) preview(cmd *cobra.Command) error {
	c, err := config.Load(f.path)
	if err != nil {
		return &exitError{2, err}
	}
	names := nss.New()
	q, a, err := f.question(cmd.Context(), names)
	if err != nil {
		return &exitError{2, err}
	}
	// Who stands for nobody has no rule; `net-porter check` tells of them.
	var broken error
	asked := slices.DeleteFunc(c.Resources, func(r config.Resource) bool { return r.Name != f.resource })
	rules := server.ResolveTelling(cmd.Context(), asked, names, func(u server.Unknown) {
		if !errors.Is(u.Err, nss.ErrNotFound) {
			broken = errors.Join(broken, fmt.Errorf("%s: %s: %q cannot be looked up, so that nobody can tell: %w", u.At, u.Key, u.Name, u.Err))
		}
	})
	if broken != nil {
		return &exitError{2, broken}
	}
	decision, err := server.Preview(rules, q, func() (*cni.Network, error) { return cni.Load(c.CNI.ConfigDir, q.Resource) })
	if err != nil && !decision.Allowed && decision.Reason == policy.ReasonNone {
		return &exitError{2, err} // no question that can be asked
	}
	if decision.Allowed && errors.Is(err, cni.ErrInvalidConfig) || errors.Is(err, cni.ErrNotFound) {
		return &exitError{2, fmt.Errorf("resource %s cannot be used: %w", q.Resource, err)}
	}
	a.Allowed, a.Rules, a.MaxAttachments, a.MaxInAll = err == nil, decision.Rules, decision.Most, c.MaxAttachmentsPerUser
	if err != nil {
		a.Refused, a.Told = err.Error(), server.Explain(err)
	}
	if f.json {
		err = writeIndented(cmd.OutOrStdout(), a)
	} else {
		err = a.print(cmd.OutOrStdout())
	}
	if err == nil && !a.Allowed {
		return &exitError{1, nil}
	}
	return err
}

// question looks up who is meant.
func (f *checkFlags) question(ctx context.Context, names *nss.Resolver) (server.Question, *answer, error) {
	q := server.Question{Resource: f.resource, IPs: f.ips, MAC: f.mac}
	user, known, err := userOfFlag(ctx, names, f.as)
	if err != nil {
		return q, nil, err
	}
	q.UID, q.GID = user.UID, user.GID
	switch {
	case f.groups != nil:
		gids, err := groupsOfFlag(ctx, names, f.groups)
		if err != nil {
			return q, nil, err
		}
		// In place of all that the user is in, the primary group too.
		q.GID, q.Groups = gids[0], gids[1:]
	case !known:
		return q, nil, fmt.Errorf("uid %d is nobody's, so that no groups can be looked up: name them with --groups", user.UID)
	default:
		if q.Groups, err = names.GroupsOf(ctx, user.Name); err != nil {
			return q, nil, fmt.Errorf("%w: name them with --groups", err)
		}
	}
	groups := []uint32{q.GID}
	for _, gid := range q.Groups {
		if !slices.Contains(groups, gid) {
			groups = append(groups, gid)
		}
	}
	return q, &answer{User: user.Name, UID: q.UID, Groups: groups, Given: f.groups != nil, Resource: f.resource}, nil
}

// userOfFlag takes a name, or a number, which may be nobody's.
func userOfFlag(ctx context.Context, names *nss.Resolver, text string) (user nss.User, known bool, err error) {
	uid, numeric := number(text)
	if !numeric {
		user, err = names.UserByName(ctx, text)
		return user, err == nil, err
	}
	user, err = names.UserByID(ctx, uid)
	if errors.Is(err, nss.ErrNotFound) {
		return nss.User{UID: uid}, false, nil
	}
	return user, err == nil, err
}

func groupsOfFlag(ctx context.Context, names *nss.Resolver, texts []string) ([]uint32, error) {
	var gids []uint32
	for _, text := range texts {
		gid, numeric := number(text)
		if !numeric {
			g, err := names.GroupByName(ctx, text)
			if err != nil {
				return nil, err
			}
			gid = g.GID
		}
		gids = append(gids, gid)
	}
	if len(gids) == 0 {
		return nil, errors.New("--groups names no group")
	}
	return gids, nil
}

func number(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}

func (a *answer) print(out io.Writer) error {
	who := fmt.Sprintf("uid %d", a.UID)
	if a.User != "" {
		who = fmt.Sprintf("%s (uid %d)", a.User, a.UID)
	}
	var gids []string
	for _, gid := range a.Groups {
		gids = append(gids, fmt.Sprint(gid))
	}
	whence := "those of a new login; the daemon goes by those that a session has"
	if a.Given {
		whence = "as given"
	}
	var text strings.Builder
	if a.Allowed {
		fmt.Fprintf(&text, "allowed: by %s%s\n", strings.Join(a.Rules, " and "), a.most())
	} else {
		fmt.Fprintf(&text, "refused: %s\n", a.Refused)
		if a.Told != a.Refused {
			fmt.Fprintf(&text, "the user is told: %s\n", a.Told)
		}
	}
	fmt.Fprintf(&text, "asked as %s with the groups %s (%s)\n", who, strings.Join(gids, ", "), whence)
	_, err := io.WriteString(out, text.String())
	return err
}

// most says how many attachments there may be.
func (a *answer) most() string {
	var bounds []string
	if a.MaxAttachments > 0 {
		bounds = append(bounds, "max "+plural(a.MaxAttachments, "attachment"))
	}
	if a.MaxInAll > 0 {
		bounds = append(bounds, fmt.Sprintf("max %d on all resources together", a.MaxInAll))
	}
	if len(bounds) == 0 {
		return ""
	}
	return " (" + strings.Join(bounds, ", ") + ")"
}
