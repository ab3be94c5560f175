// Package hostlink owns looks at the links of the host, the daemon's own network
// namespace, and the news of their changes: containers hang on some of them, and what
// becomes of those becomes of the containers.
package hostlink

import (
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is a link of the host.
type Link struct {
	// Index is its own for as long as it exists, whatever it is renamed to; one that is
	// deleted and made again has another.
	Index int
	Name  string
	// Up: it has been brought up (IFF_UP, netdevice(7)).
	Up bool
	// Carrier: it can pass frames as far as it can tell (IFF_LOWER_UP).
	Carrier bool
}

// looking has one goroutine at a time look for links. They would wait for one another
// in the kernel (rtnl_lock), with a thread each.
var looking sync.Mutex

// View is one look at links of the host: what it has seen it does not look at again. It
// is used by one goroutine, for as long as a request takes.
type View struct {
	named   map[string]seen
	indexed map[int]seen
}

type seen struct {
	link Link
	ok   bool
	err  error
}

// Named returns the link of a name, alternative ones (ip-link(8), altname) included, and
// whether there is one.
func (v *View) Named(name string) (Link, bool, error) {
	if s, ok := v.named[name]; ok {
		return s.link, s.ok, s.err
	}
	s := look(name, func() (netlink.Link, error) { return netlink.LinkByName(name) })
	if v.named == nil {
		v.named = map[string]seen{}
	}
	v.named[name] = s
	return s.link, s.ok, s.err
}

// Indexed returns the link with an index, and whether there is one.
func (v *View) Indexed(index int) (Link, bool, error) {
	if s, ok := v.indexed[index]; ok {
		return s.link, s.ok, s.err
	}
	s := look(index, func() (netlink.Link, error) { return netlink.LinkByIndex(index) })
	if v.indexed == nil {
		v.indexed = map[int]seen{}
	}
	v.indexed[index] = s
	return s.link, s.ok, s.err
}

func look(what any, find func() (netlink.Link, error)) seen {
	looking.Lock()
	found, err := find()
	looking.Unlock()
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return seen{}
	}
	if err != nil {
		return seen{err: fmt.Errorf("cannot look at link %v of the host: %w", what, err)}
	}
	a := found.Attrs()
	return seen{ok: true, link: Link{
		Index: a.Index, Name: a.Name, Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
	}}
}
