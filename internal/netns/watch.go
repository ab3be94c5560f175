package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// eventsBuffer is how much the kernel keeps for Watch, in bytes as the kernel
	// counts them: about a thousand messages.
	eventsBuffer = 1 << 20
	// datagramMax is far above what the kernel puts in one; more is as good as lost.
	datagramMax = 8 << 10
	// nsidGroup is RTNLGRP_NSID as nl_groups has it (netlink(7)).
	nsidGroup = 1 << (unix.RTNLGRP_NSID - 1)
)

// subscribe opens a socket that gets what happens to the ids of namespaces.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	// Not having it is no reason to fail: what is lost is told.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventsBuffer)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: nsidGroup}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot subscribe to the ids of network namespaces: %w", err)
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// Watch calls dead with the id of each namespace that has died, given by whom ever,
// since NewRegistry. It calls lost where the kernel could not keep all of them:
// then, and only then, deaths were missed that Alive no longer lists, and any later
// one is told again. Both are called on Watch's goroutine; while they run the kernel
// keeps about a thousand messages.
//
// At its death a namespace is out of anybody's reach, but its links may exist for
// some milliseconds more. Watch returns nil when ctx ends, and an error if the
// socket fails or is closed. One may run at a time.
func (r *Registry) Watch(ctx context.Context, dead func(id int32), lost func()) error {
	conn, err := r.events.SyscallConn()
	if err == nil {
		err = r.events.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return watchError(err)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = r.events.SetReadDeadline(time.Unix(1, 0)) // long ago
	})
	defer func() {
		if !stop() {
			<-interrupted // or the next Watch could be hit
		}
	}()

	buf := make([]byte, datagramMax)
	for {
		datagram, sender, err := receive(conn, buf, !r.overrun)
		switch {
		case err == nil && sender != 0: // root's programs may send, too
			r.awaited.told(sender)
		case err == nil:
			ids, ok := deadIDs(datagram)
			if !ok {
				r.overrun = true
			}
			for _, id := range ids {
				dead(id)
			}
		case errors.Is(err, unix.ENOBUFS):
			// Not yet lost(): until all that was kept is read, the kernel drops what
			// comes and does not say so again. A sweep now would not see that.
			r.overrun = true
		case errors.Is(err, unix.EAGAIN):
			r.overrun = false
			r.awaited.lost()
			lost()
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return watchError(err)
		}
	}
}

func watchError(err error) error {
	return fmt.Errorf("cannot learn of the deaths of network namespaces: %w", err)
}

// receive reads one datagram, which is cut if it does not fit, and returns its sender's
// port; the kernel's is 0. Without wait it returns EAGAIN when there is none.
func receive(conn syscall.RawConn, buf []byte, wait bool) (datagram []byte, sender uint32, err error) {
	var (
		n    int
		from unix.Sockaddr
	)
	waitErr := conn.Read(func(fd uintptr) (done bool) {
		for {
			n, _, _, from, err = unix.Recvmsg(int(fd), buf, nil, 0)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		return !wait || !errors.Is(err, unix.EAGAIN)
	})
	if waitErr != nil { // err is of the try before it
		return nil, 0, waitErr
	}
	if err != nil {
		return nil, 0, err
	}
	address, ok := from.(*unix.SockaddrNetlink)
	if !ok {
		return nil, 0, nil
	}
	return buf[:n], address.Pid, nil
}
