package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/server"
)

// socket is what the daemon listens on.
type socket struct {
	*net.UnixListener
	name   string // what users know it by
	remove func() // removes what was made
}

// listen gives the socket that systemd passed (sd_listen_fds(3)), or else makes the
// configured one.
func (d *daemon) listen(ctx context.Context) (*socket, error) {
	passed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot use the sockets that systemd passed: %w", err)
	}
	if len(passed) > 0 {
		l, ok := passed[0].(*net.UnixListener)
		if len(passed) > 1 || !ok {
			return nil, errors.New("systemd passed something other than one stream socket of unix: net-porter.socket must have one ListenStream= with a path and nothing else")
		}
		l.SetUnlinkOnClose(false) // systemd's to remove
		return &socket{l, l.Addr().String(), func() {}}, nil
	}
	c := d.config.Socket
	uid, err := id(c.User, func() (uint32, error) {
		u, err := d.users.UserByName(ctx, c.User)
		return u.UID, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make the socket: domain_socket.user: %w", err)
	}
	gid, err := id(c.Group, func() (uint32, error) {
		g, err := d.users.GroupByName(ctx, c.Group)
		if errors.Is(err, nss.ErrNotFound) {
			err = fmt.Errorf("%w: make it with `groupadd --system %s`", err, c.Group)
		}
		return g.GID, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make the socket: domain_socket.group: %w", err)
	}
	s, err := server.Listen(c.Path, int(uid), int(gid), c.Mode)
	if err != nil {
		return nil, err
	}
	return &socket{s.UnixListener, c.Path, s.Remove}, nil
}

// id is a user or group as a number, or looked up by name.
func id(text string, lookup func() (uint32, error)) (uint32, error) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return uint32(n), nil
	}
	return lookup()
}
