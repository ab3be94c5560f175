package netns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/vishvananda/netlink/nl"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/faultpoint"
)

const (
	// firstID is the lowest id that a Registry gives. Where the kernel chooses, for
	// a veth pair say, it takes the lowest that is free, so the id of the dead is
	// the next one's at once, sometimes before their death is told. Up here it
	// never gets.
	firstID = 1 << 30
	// assignTries bounds the ids that Assign finds taken before it gives up.
	assignTries = 16
	// dumpTries bounds how often a list is asked for that changes while it is told.
	dumpTries = 16
)

// Registry gives network namespaces ids in the namespace that it was made in, the
// daemon's (NETNSA_NSID, rtnetlink(7)), by which the kernel tells of their death and
// lets their links be removed. The ids are the kernel's to keep: they outlive the
// daemon, but not a reboot, and they keep nothing alive: no descriptor of a
// namespace is held. It is safe for concurrent use.
//
// A request has its socket to itself until it is answered. What may wait long, for
// the kernel's lock of all links or for a user's many links, has one of its own, or
// each attach, which needs an id, would wait, too.
type Registry struct {
	ids, links, lists, deletions *nl.SocketHandle

	ownID int32 // the daemon's own namespace's; it has no other until it is gone
	given atomic.Uint32

	events  *os.File // a socket of RTNLGRP_NSID
	awaited awaited
	// overrun: messages were lost, and nobody was told yet. Of Watch.
	overrun bool
}

// NewRegistry opens the sockets. From here on no death is missed: what happens
// before Watch is kept for it. The daemon's own namespace is given an id, too.
func NewRegistry() (*Registry, error) {
	runtime.LockOSThread() // all of it is of one namespace
	defer runtime.UnlockOSThread()
	r := &Registry{}
	// Not where an earlier daemon has started, whose ids may be recorded.
	r.given.Store(rand.Uint32())
	var err error
	if r.events, err = subscribe(); err != nil {
		return nil, err
	}
	for _, handle := range []**nl.SocketHandle{&r.ids, &r.links, &r.lists, &r.deletions} {
		socket, err := nl.GetNetlinkSocketAt(vnetns.None(), vnetns.None(), unix.NETLINK_ROUTE)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
		}
		// The kernel's own words in errors; not in those of lists, which the netlink
		// package misreads and panics.
		_ = socket.SetExtAck(handle != &r.links && handle != &r.lists)
		*handle = &nl.SocketHandle{Socket: socket}
	}
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("cannot open the server's own network namespace: %w", err)
	}
	defer own.Close()
	if r.ownID, _, err = r.assign(int32(own.Fd())); err != nil {
		r.Close()
		return nil, fmt.Errorf("cannot give the server's own network namespace an id: %w", err)
	}
	return r, nil
}

// Close ends a running Watch with an error, and nothing else: the ids stay. Every
// other method fails afterwards.
func (r *Registry) Close() error {
	for _, handle := range []*nl.SocketHandle{r.ids, r.links, r.lists, r.deletions} {
		if handle != nil {
			handle.Socket.Lock() // a request of another goroutine gets its answer
			handle.Socket.Close()
			handle.Socket.Unlock()
		}
	}
	return r.events.Close()
}

// Assign returns the id of an open namespace and gives it one if it has none yet.
// fresh says that it was given by this very call: of several at a time, one is
// fresh. It wraps os.ErrClosed if the namespace is closed; any other error is the
// system's (EPERM: the server needs CAP_NET_ADMIN).
//
// An id that something else has given before stays as it is; see Lasting.
func (r *Registry) Assign(ns *Namespace) (id int32, fresh bool, err error) {
	ns.mu.RLock() // or the descriptor's number could become another file's
	defer ns.mu.RUnlock()
	if ns.fd < 0 {
		return 0, false, fmt.Errorf("cannot give network namespace %s an id: %w", ns.id, os.ErrClosed)
	}
	id, fresh, err = r.assign(int32(ns.fd))
	if err != nil {
		return 0, false, fmt.Errorf("cannot give network namespace %s an id: %w", ns.id, err)
	}
	return id, fresh, nil
}

func (r *Registry) assign(fd int32) (id int32, fresh bool, err error) {
	for range assignTries {
		id, err = r.lookup(unix.NETNSA_FD, fd)
		if err != nil {
			return 0, false, fmt.Errorf("cannot ask for the one that it has: %w", err)
		}
		if id >= 0 {
			return id, false, nil
		}
		id = r.nextID()
		err = r.set(fd, id)
		if err == nil {
			return id, true, nil
		}
		// Either the namespace has got an id meanwhile, or the id is another's.
		if !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	return 0, false, err
}

// Lasting says whether an id is one that a Registry chose. Such an id is for one
// namespace only, until the next boot: never again by the same Registry, and by
// another only with luck (one in 2³⁰ for each namespace that it is given). Any other
// was the kernel's choice, who gives it to another namespace as soon as it is free,
// so what is recorded of it is to be believed only while its death cannot have been
// missed.
func Lasting(id int32) bool { return id >= firstID }

// Alive returns which of some ids are a namespace's now, no matter who gave them. One
// that is about to die is none of them.
//
// It asks for one after the other, which takes microseconds each. The kernel's list of
// all ids is not to be had: Linux 6.18 ends it after what fits into one message, which
// are 134 ids at first, and says that this was all.
func (r *Registry) Alive(ids []int32) (map[int32]struct{}, error) {
	alive := map[int32]struct{}{}
	for _, id := range ids {
		switch _, err := r.lookup(unix.NETNSA_NSID, id); {
		case err == nil:
			alive[id] = struct{}{}
		case !errors.Is(err, unix.ENOENT):
			return nil, fmt.Errorf("cannot ask whether a network namespace has the id %d: %w", id, err)
		}
	}
	return alive, nil
}

// nextID is the id after the last one given, and after the highest the first.
func (r *Registry) nextID() int32 {
	return firstID | int32(r.given.Add(1)&(firstID-1))
}

// lookup asks for the id of the namespace that an attribute names: -1 if it has
// none.
func (r *Registry) lookup(by int, value int32) (int32, error) {
	req := newRequest(r.ids, unix.RTM_GETNSID, 0)
	req.AddData(nl.NewRtGenMsg())
	req.AddData(nl.NewRtAttr(by, nl.Uint32Attr(uint32(value))))
	replies, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
	if err != nil {
		return 0, err
	}
	for _, body := range replies {
		if id, ok := nsidOf(body); ok {
			return id, nil
		}
	}
	return 0, errors.New("the kernel's answer has none")
}

func (r *Registry) set(fd, id int32) error {
	faultpoint.Hit("before namespace id")
	req := newRequest(r.ids, unix.RTM_NEWNSID, unix.NLM_F_ACK)
	req.AddData(nl.NewRtGenMsg())
	req.AddData(nl.NewRtAttr(unix.NETNSA_FD, nl.Uint32Attr(uint32(fd))))
	req.AddData(nl.NewRtAttr(unix.NETNSA_NSID, nl.Uint32Attr(uint32(id))))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	faultpoint.Hit("after namespace id")
	return err
}

func newRequest(socket *nl.SocketHandle, kind, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: socket}
	return req
}
