package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/server"
)

// socket is what the daemon listens on.
type socket struct {
	*net.UnixListener
	name   string // what users know it by
	passed bool   // systemd has made it
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
		if err := listenAgain(l); err != nil {
			return nil, fmt.Errorf("cannot listen on the socket that systemd passed: %w", err)
		}
		s := &socket{l, l.Addr().String(), true, func() {}}
		if s.name != d.config.Socket.Path {
			d.log.Warn("the socket is systemd's, and domain_socket of the configuration is not used: change net-porter.socket, or mask it",
				"socket", s.name, "domain_socket.path", d.config.Socket.Path)
		}
		return s, nil
	}
	c := d.config.Socket
	uid, gid, err := server.SocketOwner(ctx, c, d.users)
	if err != nil {
		return nil, err
	}
	s, err := server.Listen(c.Path, uid, gid, c.Mode)
	if err != nil {
		return nil, err
	}
	return &socket{s.UnixListener, c.Path, false, s.Remove}, nil
}

// listenAgain has the kernel name the daemon to who connects (SO_PEERCRED, unix(7)): it
// names the process that has called listen(2) last, which was systemd. Connections
// that wait are not lost. From now on it is the daemon's backlog that counts.
func listenAgain(l *net.UnixListener) error {
	conn, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var listenErr error
	err = conn.Control(func(fd uintptr) { listenErr = unix.Listen(int(fd), server.Backlog) })
	return errors.Join(err, listenErr)
}
