package doctor

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/net-porter/net-porter/internal/nss"
)

// subject is whose containers this is about.
type subject struct {
	nss.User
	name string
	home string
	// $XDG_CONFIG_HOME and $XDG_RUNTIME_DIR of who runs this.
	config, runtime string
	self            bool     // who runs this
	groups          []uint32 // those that a new login would have, the primary one included
	// session are the groups that this process has; of another's session nil.
	session []uint32
}

func newExamination(ctx context.Context, o Options) (*examination, error) {
	e := &examination{o: o, host: thisHost(), names: nss.New()}
	s := &e.subject
	var err error
	if o.User == "" {
		s.self = true
		if s.User, err = e.names.UserByID(ctx, uint32(os.Getuid())); err != nil {
			s.User = nss.User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
		}
		session, err := os.Getgroups()
		if err != nil {
			return nil, fmt.Errorf("cannot read this process' groups: %w", err)
		}
		s.session = []uint32{uint32(os.Getegid())}
		for _, gid := range session {
			s.session = append(s.session, uint32(gid))
		}
		s.home, s.config, s.runtime = os.Getenv("HOME"), os.Getenv("XDG_CONFIG_HOME"), os.Getenv("XDG_RUNTIME_DIR")
	} else {
		if s.User, err = e.names.UserByName(ctx, o.User); err != nil {
			return nil, err
		}
		s.self = s.UID == uint32(os.Getuid())
		if !s.self && !e.host.asRoot {
			return nil, fmt.Errorf("only root can look with the eyes of %s", s.Name)
		}
		s.home = homeOf(e.host.read("/etc/passwd"), s.Name)
	}
	s.name = s.Name
	if s.name == "" {
		s.name = fmt.Sprintf("uid %d", s.UID)
	}
	if s.groups, err = e.names.GroupsOf(ctx, s.Name); err != nil {
		s.groups = nil
	}
	if !slices.Contains(s.groups, s.GID) {
		s.groups = append(s.groups, s.GID)
	}
	e.report.Subject = s.name
	return e, nil
}
