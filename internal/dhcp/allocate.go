package dhcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/dhcp6"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// laterProbes is how many ARP probes follow the one that is sent before an address is
// used: RFC 5227, section 1.1, PROBE_NUM less one.
const laterProbes = 2

// allocate answers with the leases that are held for the call's interface, and first
// acquires them if there are none. When ctx or the expectation ends before the answer is
// ready, what was acquired is released again.
func (s *Service) allocate(ctx context.Context, args *skel.CmdArgs) (result *current.Result, err error) {
	e, err := s.admit(args.ContainerID, args.IfName)
	if err != nil {
		return nil, err
	}
	defer func() { e.end(err) }()
	if held := s.Leases(args.ContainerID, args.IfName); len(held) > 0 {
		return resultOf(held)
	}
	req, err := parseRequest(args.Args, args.StdinData)
	if err != nil {
		return nil, err
	}
	if e.attachment.Wish.Strict && !slices.Contains(req.families, IPv4) {
		return nil, fmt.Errorf("cannot get the address %s: %w: the resource has no IPv4", e.attachment.Wish.Address, ErrInvalid)
	}
	if e.attachment.Namespace == nil {
		return nil, fmt.Errorf("cannot acquire a lease: %w: the attachment has no namespace", ErrInvalid)
	}
	ctx, cancel := e.during(ctx)
	defer cancel()
	leases, err := s.acquireAll(ctx, &e.attachment, req)
	for _, over := range []context.Context{ctx, e.ctx} { // ctx learns of the other's end a little later
		if err == nil && over.Err() != nil {
			err = context.Cause(over)
		}
	}
	if err != nil {
		for _, l := range leases {
			s.giveBack(l, &e.attachment)
		}
		return nil, fmt.Errorf("cannot get an address by DHCP: %w", err)
	}
	return resultOf(leases)
}

// acquireAll acquires a lease in each of the families that are wanted, at the same time.
// Beside an error it returns what was acquired.
func (s *Service) acquireAll(ctx context.Context, a *Attachment, req *request) ([]Lease, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, a.Timeout, grant.ErrTimeout)
	defer cancel()
	leases, errs := make([]Lease, len(req.families)), make([]error, len(req.families))
	var wg sync.WaitGroup
	for i, family := range req.families {
		acquire := func() {
			defer s.noPanic(&errs[i])
			start := time.Now()
			leases[i], errs[i] = s.acquire(ctx, a, req, family)
			s.observe(family, "acquire", start, errs[i])
			if errs[i] != nil && family == IPv6 {
				errs[i] = fmt.Errorf("%w: %w", ErrIPv6, errs[i])
			}
		}
		if i == len(req.families)-1 {
			acquire()
		} else {
			wg.Go(acquire)
		}
	}
	wg.Wait()
	var held []Lease
	for _, l := range leases {
		if l.Address.IsValid() {
			held = append(held, l)
		}
	}
	return held, errors.Join(errs...)
}

// acquire sets the interface up, runs the exchange, and records what it came to. A lease
// that could not be recorded comes beside the error.
func (s *Service) acquire(ctx context.Context, a *Attachment, req *request, family Family) (Lease, error) {
	l := s.newLease(a, req, family)
	x, err := s.openNew(ctx, a, req, &l)
	if err != nil {
		return Lease{}, err
	}
	defer x.close()
	if err := x.link.waitReady(ctx); err != nil {
		return Lease{}, err
	}
	wish := a.Wish
	if family == IPv6 {
		wish = grant.Wish{}
	}
	if !wish.Address.IsValid() {
		wish.Address = s.memory.recall(&l)
	}
	g, err := x.Acquire(ctx, wish)
	if err != nil {
		return Lease{}, err
	}
	if g, err = s.witness(ctx, &l, g); err != nil {
		return Lease{}, err // a release could not be sent from an address that it does not hold
	}
	l = l.with(g, s.clock.now())
	s.opts.Holds(l.ID, l.Interface, l.Address.Addr())
	x.announce(g, s.logOf(&l))
	x.link.setMTU(g.MTU, s.logOf(&l))
	if l.Probe {
		l.Probes = laterProbes
	}
	s.supersede(&l)
	if err := s.remember(l); err != nil {
		// The text goes to the user, who need not know of the host's files.
		s.logOf(&l).Error("a lease cannot be recorded and is given back", "address", l.Address, "error", err)
		return l, errNotRecorded
	}
	s.reconsider(&l)
	s.logOf(&l).Debug("lease acquired", "address", l.Address, "server", l.Server, "lifetime", l.Lifetime)
	return l, nil
}

// busyWait is the pause before a link is set up again whose MAC another one still has.
const busyWait = 20 * time.Millisecond

// openNew opens a session on an interface that has just been made, and sets it up. A link
// whose namespace has just died may still have the same MAC on the same parent; the kernel
// tells nobody when it is gone, so this is tried until ctx ends, outside of the namespace,
// where it takes no thread.
func (s *Service) openNew(ctx context.Context, a *Attachment, req *request, l *Lease) (*session, error) {
	for {
		x, err := s.openSession(a.Namespace, l,
			func() (*link, error) { return openLink(a.Interface, 0) },
			func(dev *link) error {
				l.complete(a, req, dev)
				if err := dev.watch(); err != nil {
					return err
				}
				// A packet socket that is bound while the link is down reports just that.
				return dev.setUp()
			})
		if !errors.Is(err, errMACBusy) {
			return x, err
		}
		again := time.NewTimer(busyWait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil, err
		}
	}
}

func (s *Service) newLease(a *Attachment, req *request, family Family) Lease {
	l := Lease{
		ID: a.ID, Interface: a.Interface, Family: family, Network: req.network, Parent: req.parent,
		Container: a.Container, Resource: a.Resource, HostName: req.hostName, Probe: a.Probe, BootID: s.bootID,
	}
	if family == IPv6 {
		l.DHCP6 = &dhcp6.Params{DUID: a.Identity.DUID, IAID: a.Identity.IAID, FQDN: req.fqdn}
		return l
	}
	l.DHCP4 = &dhcp4.Params{ClientID: a.Identity.ClientID, Options: req.options, Requested: req.codes}
	l.Priority = req.priority
	if req.clientID != nil {
		l.DHCP4.ClientID = req.clientID
		if req.clientIDNamed {
			// Users choose the names of their containers: no two users are one client.
			uid, _, _ := strings.Cut(a.ID, ".")
			l.DHCP4.ClientID = []byte(string(req.clientID) + "." + uid)
		}
	}
	return l
}

// complete fills in what the interface has to say.
func (l *Lease) complete(a *Attachment, req *request, dev *link) {
	l.MAC = dev.mac.String()
	switch {
	case l.DHCP6 != nil && l.DHCP6.DUID == nil:
		l.DHCP6.DUID = append([]byte{0, 3, 0, 1}, dev.mac...) // DUID-LL (RFC 8415, section 11.4)
	case l.DHCP4 != nil && l.DHCP4.ClientID == nil:
		l.DHCP4.ClientID = defaultClientID(a.ID, req.network, a.Interface)
	}
}

// release gives back the leases of the call's interface. It never fails for the
// network's sake: CNI's DEL would be stuck with it.
func (s *Service) release(_ context.Context, args *skel.CmdArgs) (err error) {
	e, err := s.admit(args.ContainerID, args.IfName)
	if err != nil {
		return err
	}
	defer func() { e.end(err) }()
	for _, l := range s.Leases(args.ContainerID, args.IfName) {
		s.giveBack(l, &e.attachment)
	}
	return nil
}

// releaseTime bounds a release, of which only DHCPv6 has an answer to wait for.
const releaseTime = 2 * time.Second

// giveBack tells the server that the lease is no longer needed, as well as can be,
// and drops the record.
func (s *Service) giveBack(l Lease, a *Attachment) {
	s.tellServer(l, a)
	if err := s.forget(l.key()); err != nil {
		s.logOf(&l).Error("cannot remove a lease's record", "address", l.Address, "error", err)
	}
}

// tellServer is giveBack without the record.
func (s *Service) tellServer(l Lease, a *Attachment) {
	log := s.logOf(&l).With("address", l.Address)
	switch {
	case l.Superseded:
		log.Debug("lease dropped: another attachment has it", "server", l.Server)
	case l.BootID != s.bootID || l.overAt(s.clock.now()):
		log.Debug("lease dropped: its time is over", "server", l.Server)
	default:
		ctx, cancel := context.WithTimeoutCause(context.Background(), releaseTime, grant.ErrTimeout)
		defer cancel()
		start := time.Now()
		err := errors.New("the namespace is gone")
		if a.Namespace != nil {
			err = s.sendRelease(ctx, &l, a.Namespace, a.Index)
		}
		if err != nil {
			if fromHost := s.sendReleaseFromHost(ctx, &l); fromHost == nil {
				err = nil
			} else {
				err = errors.Join(err, fromHost)
			}
		}
		s.observe(l.Family, "release", start, err)
		if err != nil {
			log.Warn("lease dropped, but the server could not be told", "error", err)
		} else {
			log.Debug("lease released", "server", l.Server)
		}
	}
	if !l.Refused && !l.Superseded {
		s.memory.remember(&l)
	}
}
