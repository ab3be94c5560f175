package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/nss"
)

// SocketOwner looks up the numbers of the user and the group whose the socket is to be.
func SocketOwner(ctx context.Context, c config.Socket, names Names) (uid, gid int, err error) {
	uid, err = id(c.User, func() (uint32, error) {
		u, err := names.UserByName(ctx, c.User)
		return u.UID, err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("cannot make the socket: domain_socket.user: %w", err)
	}
	gid, err = id(c.Group, func() (uint32, error) {
		g, err := names.GroupByName(ctx, c.Group)
		if errors.Is(err, nss.ErrNotFound) {
			err = fmt.Errorf("%w: make it with `groupadd --system %s`", err, c.Group)
		}
		return g.GID, err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("cannot make the socket: domain_socket.group: %w", err)
	}
	return uid, gid, nil
}

// id is a user or group as a number, or looked up by name.
func id(text string, lookup func() (uint32, error)) (int, error) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return int(n), nil
	}
	n, err := lookup()
	return int(n), err
}
