package dhcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/dhcp6"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

const (
	// unheardFor is how long a lease lasts of which the host, once it has to hear of it,
	// hears nothing: long enough for a server to come back.
	unheardFor = time.Hour
	// maxStrays bounds guesses at a DHCPv6 transaction, of 24 bits, by users of the host who
	// may use port 547 (ip_unprivileged_port_start).
	maxStrays = 256
)

// witness has the host hear of a grant, where it has to, and returns what it has heard:
// who rules the namespace in which an exchange was held may have made up any of it. The
// lease is marked by it. Its errors wrap ErrUnheard beside those of exchanges.
func (s *Service) witness(ctx context.Context, l *Lease, said grant.Grant) (grant.Grant, error) {
	parent, mac, err := s.opts.Witness(l.ID, l.Interface)
	if err == nil && parent == 0 {
		l.Witnessed = false
		return said, nil
	}
	var heard grant.Grant
	if err == nil {
		limited, cancel := context.WithTimeoutCause(ctx, s.opts.prolongTime, grant.ErrTimeout)
		defer cancel()
		heard, err = s.hear(limited, l, said, parent, mac)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, grant.ErrTimeout) {
			return grant.Grant{}, cause
		}
		s.logOf(l).Warn("an address is not used: that it was granted was heard in the container alone, whose owner may have made it up",
			audit.LeaseRefused.Attr(), "address", said.Address, "server", said.Server, "parent", l.Parent, "error", err)
		return grant.Grant{}, fmt.Errorf("%w: %s: %w", ErrUnheard, said.Address.Addr(), err)
	}
	l.Witnessed = true
	return heard, nil
}

// hear asks the server from the host, where nothing of the container's own can answer.
func (s *Service) hear(ctx context.Context, l *Lease, said grant.Grant, parent int, mac net.HardwareAddr) (grant.Grant, error) {
	// What the server was told in the container's namespace is the container's word.
	if got, err := parseMAC(l.MAC); err != nil || !bytes.Equal(got, mac) {
		return grant.Grant{}, fmt.Errorf("the lease is for the MAC %.32q, the interface was given %s", l.MAC, mac)
	}
	dev, err := hostLink(l.Parent, parent)
	if err != nil {
		return grant.Grant{}, err
	}
	x := &session{link: dev, closing: &s.closing}
	defer x.close()
	log, bad := s.logOf(l).With("parent", dev.name), s.opts.Observer.CountBadFrame
	if l.Family == IPv6 {
		// From the parent's own address: what is sent to its MAC comes from the LAN.
		c, err := dhcp6.Open(dhcp6.Config{Name: dev.name, Index: dev.index, Params: *l.DHCP6, Log: log, BadFrame: bad, Strays: maxStrays})
		if err != nil {
			return grant.Grant{}, err
		}
		x.client = c
		return c.Renew(ctx, said)
	}
	c, err := dhcp4.OpenOnParent(dhcp4.Config{Index: dev.index, MAC: mac, Params: *l.DHCP4, Log: log, BadFrame: bad})
	if err != nil {
		return grant.Grant{}, err
	}
	x.client = c
	return c.Attest(ctx, said)
}

// Recheck has leases of an interface prolonged at once of which the host has not heard, as
// they are older than that it has to. Of those it hears nothing of the time is short.
func (s *Service) Recheck(id, ifname string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.of(place{id, ifname}) {
		if !e.lease.Witnessed { // where a step makes it so, reconsider comes
			e.doubted = true
			s.awake()
		}
	}
}

// reconsider is for a lease that the host did not have to hear of when it was granted, and
// has to by now that it is recorded.
func (s *Service) reconsider(l *Lease) {
	if l.Witnessed {
		return
	}
	if parent, _, err := s.opts.Witness(l.ID, l.Interface); err != nil || parent != 0 {
		s.Recheck(l.ID, l.Interface)
	}
}

// doubt does what Recheck wants when nothing else is done for a lease. mu is held.
func (s *Service) doubt(k key, e *entry, now time.Duration) {
	if !e.doubted || e.cancel != nil || s.expected[k.place()] != nil {
		return
	}
	e.doubted = false
	e.lease = e.lease.doubted(now)
	e.due = s.dueAt(&e.lease, now)
}

// doubted is the lease if the host has heard of it, else one that is to be renewed now.
func (l Lease) doubted(now time.Duration) Lease {
	age := max(0, now-l.Acquired)
	if l.Witnessed || l.Superseded || l.overAt(now) {
		return l
	}
	if l.Infinite() {
		l.T2, l.Lifetime = age+unheardFor, age+unheardFor
	}
	l.Lifetime = min(l.Lifetime, age+unheardFor)
	l.T2 = min(l.T2, age+(l.Lifetime-age)/8*7)
	l.T1 = min(l.T1, age, l.T2)
	return l
}
