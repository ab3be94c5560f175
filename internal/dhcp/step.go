package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/linkaddr"
)

// What one try of a task may take. What it comes to is tried again, so a server that is
// slow on one day is no disaster.
const (
	prolongTime  = 5 * time.Second
	discoverTime = 10 * time.Second
	probeTime    = 200 * time.Millisecond
)

// step does what is due for a lease and returns the lease as it is then, also beside an
// error. Every change is in the lease's record before it is on the interface.
func (s *Service) step(ctx context.Context, places Places, l Lease, unconfirmed bool) (Lease, error) {
	t := l.taskAt(s.clock.now(), unconfirmed)
	if t == nothing {
		return l, nil
	}
	if t == expire {
		// Whether or not the interface can be reached: it is over.
		s.logOf(&l).Warn("a DHCP lease has expired: no server has prolonged it", audit.LeaseLost.Attr(), "address", l.Address, "server", l.Server)
		return s.over(l)
	}
	start := time.Now()
	place, err := places.Reopen(ctx, l.ID, l.Interface)
	if errors.Is(err, ErrNoAttachment) {
		s.logOf(&l).Warn("a DHCP lease is given back: its attachment is gone", "address", l.Address)
		for _, now := range s.Leases(l.ID, l.Interface) { // it may be another's by now, or released
			if now.Family == l.Family {
				s.tellServer(now, &Attachment{})
			}
		}
		l.Superseded = true // it is nobody's, until its record is
		return l, s.forget(l.key())
	}
	if err != nil {
		err = fmt.Errorf("cannot %s: %w: %w", t, errUnreachable, err)
		if !errors.Is(err, ErrNotYet) {
			s.observe(l.Family, string(t), start, err)
		}
		return l, err
	}
	defer place.Close()
	x, err := s.openSession(place, &l, func() (*link, error) { return openLink(l.Interface, place.Index()) }, func(*link) error { return nil })
	if err != nil {
		s.observe(l.Family, string(t), start, err)
		return l, fmt.Errorf("cannot %s: %w", t, err)
	}
	defer x.close()
	if len(l.Undone) > 0 {
		done, err := s.settle(x, l)
		if t == settle {
			return done, err
		}
		if err != nil {
			s.logOf(&l).Warn("an interface cannot be made to follow its lease yet", "error", err)
		}
		l = done
	}
	if t == probe {
		return s.probe(ctx, place, x, l)
	}
	start = time.Now()
	g, err := s.ask(ctx, x, &l, t)
	if err == nil {
		g, err = s.witness(ctx, &l, g)
	}
	s.observe(l.Family, string(t), start, err)
	return s.conclude(ctx, x, l, t, g, err)
}

// ask holds the exchange of a task.
func (s *Service) ask(ctx context.Context, x *session, l *Lease, t task) (grant.Grant, error) {
	limit, now := s.opts.prolongTime, s.clock.now()
	switch t { // no try outlives the state that it is for
	case renew:
		limit = min(limit, l.Acquired+l.T2-now)
	case rebind:
		limit = min(limit, l.Acquired+l.Lifetime-now)
	case discover:
		limit = s.opts.discoverTime
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, grant.ErrTimeout)
	defer cancel()
	switch t {
	case renew:
		return x.Renew(ctx, l.Grant)
	case rebind:
		return x.Rebind(ctx, l.Grant)
	case confirm:
		return x.Confirm(ctx, l.Grant)
	}
	if l.Refused {
		return x.Acquire(ctx, grant.Wish{})
	}
	return x.Acquire(ctx, grant.Wish{Address: l.Address.Addr()})
}

// conclude takes what an exchange came to.
func (s *Service) conclude(ctx context.Context, x *session, l Lease, t task, g grant.Grant, err error) (Lease, error) {
	log := s.logOf(&l)
	switch {
	case err == nil:
		return s.adopt(x, l, g)
	case ctx.Err() != nil:
		return l, context.Cause(ctx)
	case t != discover && errors.Is(err, grant.ErrNak):
		log.Warn("a DHCP server has refused to prolong a lease: a new one is asked for", audit.LeaseLost.Attr(), "address", l.Address, "error", err)
		l.Refused = true
	case t == confirm:
		log.Warn("a DHCP lease ended while the daemon was away, and no server confirms it", audit.LeaseLost.Attr(), "address", l.Address, "error", err)
	default:
		return l, err
	}
	return s.begone(x, l)
}

// adopt takes a grant for the lease's, and applies to the interface what is other in it.
func (s *Service) adopt(x *session, l Lease, g grant.Grant) (Lease, error) {
	log := s.logOf(&l)
	before := l.Grant
	moved := before.Address.Addr() != g.Address.Addr()
	touched := l.Expired || before.Address != g.Address || before.MTU != g.MTU || !slices.Equal(before.Routes, g.Routes)
	back := l.Expired
	if touched {
		l = l.leave()
	}
	l = l.with(g, s.clock.now())
	if l.Probe && (moved || back) {
		l.Probes = laterProbes
	}
	if err := s.remember(l); err != nil {
		return l, err
	}
	s.reconsider(&l)
	if moved {
		s.opts.Observer.CountAddressChange()
	}
	if !slices.Equal(before.DNS, g.DNS) || !slices.Equal(before.Search, g.Search) {
		log.Info("the DHCP server names other name servers or search domains; a running container keeps those that it has", "dns", g.DNS, "search", g.Search)
	}
	if !touched {
		log.Debug("lease prolonged", "address", g.Address, "server", g.Server, "lifetime", g.Lifetime)
		return l, nil
	}
	if back && !moved {
		log.Info("a container has its address by DHCP again", audit.LeaseChanged.Attr(), "address", g.Address, "server", g.Server)
	} else {
		log.Info("a DHCP lease has changed", audit.LeaseChanged.Attr(), "address", g.Address, "address_before", before.Address,
			"routes", g.Routes, "mtu", g.MTU, "mtu_before", before.MTU, "server", g.Server)
	}
	l, err := s.settle(x, l)
	if err == nil && (moved || back) {
		x.announce(g, log)
	}
	return l, err
}

// settle makes the interface have what the record says.
func (s *Service) settle(x *session, l Lease) (Lease, error) {
	s.opts.Holds(l.ID, l.Interface, netip.Addr{})
	if err := x.link.apply(&l, s.logOf(&l)); err != nil {
		return l, err
	}
	l.Undone = nil
	return l, s.remember(l)
}

// over notes that the address is not the lease's any more.
func (s *Service) over(l Lease) (Lease, error) {
	l = l.leave()
	l.Expired, l.Probes = true, 0
	return l, s.remember(l)
}

// begone is over, and takes the address from the interface.
func (s *Service) begone(x *session, l Lease) (Lease, error) {
	l, err := s.over(l)
	if err != nil {
		return l, err
	}
	return s.settle(x, l)
}

// probe asks once more whether somebody else has the address.
func (s *Service) probe(ctx context.Context, place Place, x *session, l Lease) (Lease, error) {
	start := time.Now()
	err := x.conflict(ctx, place, l.Address.Addr())
	s.observe(l.Family, string(probe), start, err)
	if errors.Is(err, grant.ErrConflict) {
		s.logOf(&l).Warn("an address is given back: another machine uses it", audit.LeaseLost.Attr(), "address", l.Address, "error", err)
		start = time.Now()
		err = x.Decline(ctx, l.Grant)
		s.observe(l.Family, "decline", start, err)
		l.Refused = true
		return s.begone(x, l)
	}
	if err != nil {
		return l, err
	}
	l.Probes--
	return l, s.remember(l)
}

// conflict looks for another user of an address: for IPv4 by ARP, for IPv6 at what the
// kernel's own duplicate address detection (RFC 4862, section 5.4) has come to.
func (x *session) conflict(ctx context.Context, ns Namespace, addr netip.Addr) error {
	if c, ok := x.client.(*dhcp4.Client); ok {
		return c.Probe(ctx, addr, probeTime)
	}
	var addrs []linkaddr.Address
	if err := ns.Do(func() error {
		socket, err := linkaddr.Open()
		if err != nil {
			return err
		}
		defer socket.Close()
		addrs, err = socket.List(x.link.index)
		return err
	}); err != nil {
		return err
	}
	for _, a := range addrs {
		if a.Prefix.Addr() == addr && a.IsDuplicate() {
			return fmt.Errorf("%w: %s", grant.ErrConflict, addr)
		}
	}
	return nil
}
