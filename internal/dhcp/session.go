package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/dhcp6"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// client speaks DHCP of one family on one interface, for as long as an exchange takes.
// Its methods are those of dhcp4.Client.
type client interface {
	Acquire(context.Context, grant.Wish) (grant.Grant, error)
	Renew(context.Context, grant.Grant) (grant.Grant, error)
	Rebind(context.Context, grant.Grant) (grant.Grant, error)
	Confirm(context.Context, grant.Grant) (grant.Grant, error)
	Release(context.Context, grant.Grant) error
	Decline(context.Context, grant.Grant) error
	Close()
}

// session is an interface inside its namespace and a client on it. It keeps the
// namespace alive until close, and some milliseconds more.
type session struct {
	client
	link    *link
	closing *sync.WaitGroup
}

// openSession opens the interface that find finds inside the namespace, after prepare
// has had a look at it, and a client of the lease's family on it.
func (s *Service) openSession(ns Namespace, l *Lease, find func() (*link, error), prepare func(*link) error) (*session, error) {
	x := &session{closing: &s.closing}
	opened := false
	defer func() {
		if !opened { // nothing that pins the namespace outlives a failure, nor a panic
			x.close()
		}
	}()
	err := ns.Do(func() (err error) {
		if x.link, err = find(); err != nil {
			return err
		}
		if err := prepare(x.link); err != nil {
			return err
		}
		x.client, err = s.openClient(x.link, l)
		return err
	})
	if err != nil {
		return nil, err
	}
	opened = true
	return x, nil
}

// openClient must be called inside the link's namespace.
func (s *Service) openClient(dev *link, l *Lease) (client, error) {
	log := s.logOf(l)
	if l.Family == IPv6 {
		c, err := dhcp6.Open(dhcp6.Config{
			Name: dev.name, Index: dev.index, Params: *l.DHCP6, Log: log, BadFrame: s.opts.Observer.CountBadFrame,
		})
		if err != nil {
			return nil, err // a nil *dhcp6.Client would be a client
		}
		return c, nil
	}
	mac := dev.mac
	if l.MAC != "" {
		// The container's root may have changed the interface's; in what the server reads
		// (chaddr), the client is who it was.
		var err error
		if mac, err = parseMAC(l.MAC); err != nil {
			return nil, err
		}
	}
	c, err := dhcp4.Open(dhcp4.Config{
		Index: dev.index, MAC: mac, Params: *l.DHCP4, Probe: l.Probe, Log: log, BadFrame: s.opts.Observer.CountBadFrame,
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// maxClosers is how many sessions are closed at a time, as each takes a thread for it.
const maxClosers = 8

var closers = make(chan struct{}, maxClosers)

// close lets go of the namespace. Nobody waits for it: the kernel closes a packet socket
// when no processor can be using it any more (RCU), which takes 10 to 30 ms, as long as all
// the rest of an attach.
func (x *session) close() {
	x.closing.Go(func() {
		closers <- struct{}{}
		defer func() { <-closers }()
		if x.client != nil {
			x.client.Close()
		}
		if x.link != nil {
			x.link.close()
		}
	})
}

// announce tells the LAN of an address that was not there before; IPv6 does so by
// itself, with the duplicate address detection.
func (x *session) announce(g grant.Grant, log *slog.Logger) {
	c, ok := x.client.(*dhcp4.Client)
	if !ok {
		return
	}
	if err := c.Announce(g.Address.Addr()); err != nil {
		log.Warn("the new address could not be announced to the LAN", "address", g.Address, "error", err)
	}
}

// sendRelease gives a lease back from inside its namespace. The interface is known by
// its index, if that is known: what has its name by now may be on another LAN.
func (s *Service) sendRelease(ctx context.Context, l *Lease, ns Namespace, index int) error {
	x, err := s.openSession(ns, l,
		func() (*link, error) { return openLink(l.Interface, index) },
		func(*link) error { return nil })
	if err != nil {
		return err
	}
	defer x.close()
	return x.Release(ctx, l.Grant)
}

// sendReleaseFromHost gives a lease back from the parent link, in the interface's name:
// the namespace may be gone, or its user have made the interface useless.
func (s *Service) sendReleaseFromHost(ctx context.Context, l *Lease) error {
	if l.Family != IPv4 || l.Parent == "" || l.MAC == "" {
		return errors.New("there is no other way to the server than the interface")
	}
	x := &session{closing: &s.closing}
	defer x.close()
	var err error
	if x.link, err = hostLink(l.Parent, 0); err != nil {
		return err
	}
	if x.client, err = s.openClient(x.link, l); err != nil {
		return err
	}
	return x.Release(ctx, l.Grant)
}

func (s *Service) logOf(l *Lease) *slog.Logger {
	uid, container, _ := strings.Cut(l.ID, ".")
	number, _ := strconv.ParseUint(uid, 10, 32) // as everywhere in the log
	return s.log.With("uid", number, "container", container, "container_name", l.Container,
		"resource", l.Resource, "interface", l.Interface, "family", int(l.Family))
}
