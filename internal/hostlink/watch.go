package hostlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// newsBuffer is how much the kernel keeps for Watch, in bytes as the kernel counts
	// them. What does not fit is lost at once, which costs nobody anything.
	newsBuffer = 1 << 18
	// datagramMax is above what the kernel says of a link. Of more, the beginning is
	// read, which has the name.
	datagramMax = 16 << 10
	// pause is how long news are left to gather: a change is told that much later, with
	// what follows it, and where containers start by the thousand Watch wakes up four
	// times a second.
	pause = 250 * time.Millisecond
)

// News is a subscription to what happens to the host's links (RTNLGRP_LINK, rtnetlink(7)).
type News struct{ events *os.File }

// Subscribe begins to collect news: what happens from here on is told by Watch.
func Subscribe() (*News, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	// Not having it is no reason to fail: what is lost is told.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, newsBuffer)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_LINK - 1)}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot subscribe to changes of the host's links: %w", err)
	}
	return &News{os.NewFile(uintptr(fd), "netlink")}, nil
}

// Close ends a running Watch with an error.
func (n *News) Close() error { return n.events.Close() }

// Watch calls changed, on its own goroutine, soon after something has happened to a link
// of which concerns says so, by its index and its name then, or may have happened, as the
// kernel could not keep all news. What happens shortly after one another is one change.
// Watch returns nil when ctx ends, and an error if the socket fails or is closed. It is
// to be called once.
func (n *News) Watch(ctx context.Context, concerns func(index int, name string) bool, changed func()) error {
	conn, err := n.events.SyscallConn()
	if err != nil {
		return watchError(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = n.events.SetReadDeadline(time.Unix(1, 0)) }) // long ago
	defer stop()
	buf := make([]byte, datagramMax)
	told := false
	read := func(wait bool) error {
		size, err := receive(conn, buf, wait)
		switch {
		case err == nil:
			told = told || isConcern(buf[:size], concerns)
		case errors.Is(err, unix.ENOBUFS):
			told, err = true, nil
		}
		return err
	}
	for {
		told = false
		if err = read(true); err == nil {
			gather(ctx)
		}
		for err == nil {
			err = read(false)
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case !errors.Is(err, unix.EAGAIN):
			return watchError(err)
		case told:
			changed()
		}
	}
}

// gather returns when news have had their time to come together.
func gather(ctx context.Context) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func watchError(err error) error {
	return fmt.Errorf("cannot learn of changes of the host's links: %w", err)
}

// receive reads one datagram, as far as it fits. Without wait it returns EAGAIN when
// there is none.
func receive(conn syscall.RawConn, buf []byte, wait bool) (size int, err error) {
	waitErr := conn.Read(func(fd uintptr) (done bool) {
		for {
			size, _, err = unix.Recvfrom(int(fd), buf, 0)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		return !wait || !errors.Is(err, unix.EAGAIN)
	})
	if waitErr != nil { // err is of the try before it
		return 0, waitErr
	}
	return size, err
}

// isConcern says whether a datagram tells of a link of which concerns says so. One that
// is not understood may.
func isConcern(datagram []byte, concerns func(index int, name string) bool) bool {
	for len(datagram) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(datagram))
		kind := binary.NativeEndian.Uint16(datagram[4:])
		if size < unix.SizeofNlMsghdr {
			return true
		}
		body := datagram[unix.SizeofNlMsghdr:max(unix.SizeofNlMsghdr, min(size, len(datagram)))]
		datagram = datagram[min(align(size), len(datagram)):]
		if kind != unix.RTM_NEWLINK && kind != unix.RTM_DELLINK {
			continue
		}
		if len(body) < unix.SizeofIfInfomsg {
			return true
		}
		index := int(int32(binary.NativeEndian.Uint32(body[4:]))) // ifi_index
		name, ok := nameIn(body[unix.SizeofIfInfomsg:])
		if !ok || concerns(index, name) {
			return true
		}
	}
	return false
}

// nameIn finds IFLA_IFNAME among attributes; the kernel puts it first.
func nameIn(attributes []byte) (name string, ok bool) {
	for len(attributes) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(attributes))
		if size < unix.SizeofRtAttr || size > len(attributes) {
			return "", false
		}
		if binary.NativeEndian.Uint16(attributes[2:]) == unix.IFLA_IFNAME {
			return unix.ByteSliceToString(attributes[unix.SizeofRtAttr:size]), true
		}
		attributes = attributes[min(align(size), len(attributes)):]
	}
	return "", false
}

// align is NLMSG_ALIGN, and RTA_ALIGN.
func align(size int) int { return (size + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
