package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// CheckWatch sends a message to the group that the kernel tells deaths to, which does
// nothing, and returns nil once the running Watch has read it. It returns an error if
// that has not happened when ctx ends: no Watch runs, or its subscription is dead.
//
// It is not a namespace that is made to die, as the kernel does not make or clear away
// any while it is busy with another one's links: with 3,000 bridges, which any user
// makes in a third of a second, for 50 s (Linux 6.18). That is no fault of the Watch's.
func (r *Registry) CheckWatch(ctx context.Context) error {
	for {
		told, err := r.checkOnce(ctx)
		if told || err != nil {
			return err
		}
	}
}

// checkOnce is not told where messages were lost, and this one perhaps among them.
func (r *Registry) checkOnce(ctx context.Context) (told bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	defer unix.Close(fd)
	var port uint32 // the kernel's choice, who sees to it that it is no other socket's
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		var own unix.Sockaddr
		if own, err = unix.Getsockname(fd); err == nil {
			port = own.(*unix.SockaddrNetlink).Pid
		}
	}
	if err != nil {
		return false, fmt.Errorf("cannot bind a netlink socket: %w", err)
	}
	heard := r.awaited.add(port)
	defer r.awaited.drop(port)
	message := make([]byte, unix.SizeofNlMsghdr)
	binary.NativeEndian.PutUint32(message, uint32(len(message)))
	binary.NativeEndian.PutUint16(message[4:], unix.NLMSG_NOOP)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: nsidGroup}); err != nil {
		return false, fmt.Errorf("cannot send a netlink message: %w", err)
	}
	select {
	case told = <-heard:
		return told, nil
	case <-ctx.Done():
		return false, errors.New("what the kernel tells of network namespaces does not arrive")
	}
}

// awaited are the senders' ports (netlink(7), nl_pid) that CheckWatch waits to hear of.
type awaited struct {
	mu    sync.Mutex
	ports map[uint32]chan<- bool // gets true for the message, false if it may have been lost
}

func (a *awaited) add(port uint32) <-chan bool {
	heard := make(chan bool, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ports == nil {
		a.ports = map[uint32]chan<- bool{}
	}
	a.ports[port] = heard
	return heard
}

func (a *awaited) told(port uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if heard, ok := a.ports[port]; ok {
		heard <- true
		delete(a.ports, port)
	}
}

func (a *awaited) lost() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for port, heard := range a.ports {
		heard <- false
		delete(a.ports, port)
	}
}

func (a *awaited) drop(port uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.ports, port)
}
