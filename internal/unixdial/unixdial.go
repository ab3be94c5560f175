// Package unixdial connects to a unix socket, and waits for its turn where many connect at once.
//
// While as many connections wait to be accepted as the server's backlog has room for,
// connect(2) fails with EAGAIN for a socket that may not block, as those of package net: who
// tries again later finds the room taken by those who try all the time. One that may block
// stands in the kernel's queue, and is woken when there is room.
package unixdial

import (
	"context"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a place in the backlog is worth waiting for to somebody.
const patience = 5 * time.Second

// DialSoon is Dial for who has somebody waiting: it gives up after 5 s.
func DialSoon(ctx context.Context, path string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return Dial(ctx, path)
}

// longest is the longest wait in the kernel's queue: with another one, one begins at its end.
const longest = 5 * time.Second

// Dial connects a stream to the socket at path, or to an abstract one if that begins with
// '@' (unix(7)). While the server's backlog is full it waits, until the deadline of ctx; that
// ctx was cancelled is seen within 5 s. The error wraps EAGAIN then. All errors are of type
// [*net.OpError] and wrap the kernel's (connect(2)). It is the calling thread that connects,
// with the rights that this one has.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"}, Err: err}
	}
	return conn, nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close() // net has a descriptor of its own
	for {
		wait := longest
		if deadline, ok := ctx.Deadline(); ok {
			wait = min(wait, max(time.Until(deadline), time.Millisecond)) // 0 would be for ever
		}
		timeout := unix.NsecToTimeval(wait.Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		switch {
		case err == nil:
			return net.FileConn(file)
		case err != unix.EINTR && err != unix.EAGAIN:
			return nil, os.NewSyscallError("connect", err)
		case ctx.Err() != nil:
			return nil, os.NewSyscallError("connect", unix.EAGAIN)
		}
	}
}
