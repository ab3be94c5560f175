package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

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
// namespace alive until close.
type session struct {
	client
	link *link
}

// openSession opens the interface that find finds inside the namespace, after prepare
// has had a look at it, and a client of the lease's family on it.
func (s *Service) openSession(ns Namespace, l *Lease, find func() (*link, error), prepare func(*link) error) (*session, error) {
	x := &session{}
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
		x.close()
		return nil, err
	}
	return x, nil
}

// openClient must be called inside the link's namespace.
func (s *Service) openClient(dev *link, l *Lease) (client, error) {
	log := s.logOf(l)
	if l.Family == IPv6 {
		return dhcp6.Open(dhcp6.Config{
			Name: dev.name, Index: dev.index, Params: *l.DHCP6, Log: log, BadFrame: s.opts.Observer.CountBadFrame,
		})
	}
	mac := dev.mac
	if l.MAC != "" {
		// The container's root may have changed the interface's; to the server, and on
		// the wire, the client is who it was.
		var err error
		if mac, err = parseMAC(l.MAC); err != nil {
			return nil, err
		}
	}
	return dhcp4.Open(dhcp4.Config{
		Index: dev.index, MAC: mac, Params: *l.DHCP4, Probe: l.Probe, Log: log, BadFrame: s.opts.Observer.CountBadFrame,
	})
}

func (x *session) close() {
	if x.client != nil {
		x.client.Close()
	}
	if x.link != nil {
		x.link.close()
	}
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

// sendRelease gives a lease back from inside its namespace.
func (s *Service) sendRelease(ctx context.Context, l *Lease, ns Namespace) error {
	x, err := s.openSession(ns, l,
		func() (*link, error) { return openLink(l.Interface, 0) },
		func(*link) error { return nil })
	if err != nil {
		return err
	}
	defer x.close()
	return x.Release(ctx, l.Grant)
}

// sendReleaseFromHost gives a lease back whose namespace is gone: from the parent link,
// in the interface's name.
func (s *Service) sendReleaseFromHost(ctx context.Context, l *Lease) error {
	if l.Family != IPv4 || l.Parent == "" {
		return errors.New("the namespace is gone")
	}
	dev, err := openLink(l.Parent, 0)
	if err != nil {
		return fmt.Errorf("the namespace is gone, and its parent link: %w", err)
	}
	defer dev.close()
	c, err := s.openClient(dev, l)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Release(ctx, l.Grant)
}

func (s *Service) logOf(l *Lease) *slog.Logger {
	return s.log.With("id", l.ID, "interface", l.Interface, "family", int(l.Family))
}
