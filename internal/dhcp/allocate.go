package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// allocate answers with the lease that is held for the call's interface, and first
// acquires it if there is none. When ctx or the expectation ends before the answer is
// ready, what was acquired is released again.
func (s *Service) allocate(ctx context.Context, args *skel.CmdArgs) (result *current.Result, err error) {
	e, err := s.admit(args.ContainerID, args.IfName)
	if err != nil {
		return nil, err
	}
	defer func() { e.end(err) }()
	if held, ok := s.Lease(args.ContainerID, args.IfName); ok {
		return held.result(), nil
	}
	req, err := parseRequest(args.ContainerID, args.IfName, args.Args, args.StdinData)
	if err != nil {
		return nil, err
	}
	if e.attachment.Namespace == nil {
		return nil, fmt.Errorf("cannot acquire a lease: %w: the attachment has no namespace", ErrInvalid)
	}
	ctx, cancel := e.during(ctx)
	defer cancel()

	start := time.Now()
	lease, err := s.acquire(ctx, e.attachment, req)
	s.observe("acquire", start, err)
	if err != nil {
		return nil, fmt.Errorf("cannot get an address by DHCP: %w", err)
	}
	err = s.remember(lease)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		s.giveBack(lease, e.attachment.Namespace)
		return nil, err
	}
	s.log.Debug("lease acquired", "id", lease.ID, "interface", lease.Interface,
		"address", lease.Address, "server", lease.Server, "expiry", lease.Expiry)
	return lease.result(), nil
}

// release gives back the lease of the call's interface. It never fails for the
// network's sake: CNI's DEL would be stuck with it.
func (s *Service) release(_ context.Context, args *skel.CmdArgs) (err error) {
	e, err := s.admit(args.ContainerID, args.IfName)
	if err != nil {
		return err
	}
	defer func() { e.end(err) }()
	if lease, ok := s.Lease(args.ContainerID, args.IfName); ok {
		s.giveBack(lease, e.attachment.Namespace)
	}
	return nil
}

// giveBack tells the server that the lease is no longer needed, as well as can be,
// and drops the record.
func (s *Service) giveBack(l Lease, ns Namespace) {
	log := s.log.With("id", l.ID, "interface", l.Interface, "address", l.Address)
	if ns == nil {
		log.Warn("lease dropped without telling the server: the namespace is gone", "expiry", l.Expiry)
	} else {
		start := time.Now()
		err := sendRelease(l, ns)
		s.observe("release", start, err)
		if err != nil {
			log.Warn("lease dropped, but the server could not be told", "error", err, "expiry", l.Expiry)
		} else {
			log.Debug("lease released", "server", l.Server)
		}
	}
	if err := s.Forget(l.ID, l.Interface); err != nil {
		log.Error("cannot remove a lease's record", "error", err)
	}
}

// acquire sets the interface up and runs the exchange, in Options.Timeout at most.
func (s *Service) acquire(ctx context.Context, a Attachment, req *request) (Lease, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.Timeout, errTimeout)
	defer cancel()
	var l *link
	var p *port
	err := a.Namespace.Do(func() (err error) {
		if l, err = openLink(a.Interface); err != nil {
			return err
		}
		// A packet socket that is bound while the link is down reports just that.
		if err = l.setUp(); err != nil {
			return err
		}
		p, err = openPort(l.index, l.mac)
		return err
	})
	if l != nil {
		defer l.close()
	}
	if p != nil {
		defer p.close()
	}
	if err != nil {
		return Lease{}, err
	}
	if err := l.waitReady(ctx); err != nil {
		return Lease{}, err
	}
	x := &exchange{
		wire: p, mac: l.mac, request: req, requested: a.RequestedIP, badFrame: s.opts.Observer.CountBadFrame,
		log: s.log.With("id", a.ID, "interface", a.Interface),
	}
	lease, err := x.acquire(ctx)
	if err != nil {
		return Lease{}, err
	}
	if err := p.announce(l.mac, lease.Address.Addr()); err != nil {
		x.log.Warn("the new address could not be announced to the LAN", "address", lease.Address, "error", err)
	}
	lease.ID, lease.Interface, lease.Network = a.ID, a.Interface, req.network
	lease.MAC, lease.ClientID, lease.HostName = l.mac.String(), req.clientID, req.hostName
	lease.Options, lease.Requested, lease.Priority = req.options, req.codes, req.priority
	return lease, nil
}

// sendRelease sends one DHCPRELEASE (RFC 2131, section 4.4.6): from the leased
// address, since servers on Linux drop what comes from 0.0.0.0, and straight to the
// MAC that the ACK came from, since the interface may be deleted before an answer to
// ARP would come. There is no reply to wait for.
func sendRelease(l Lease, ns Namespace) error {
	msg, err := releaseMessage(l)
	if err != nil {
		return err
	}
	dst, err := net.ParseMAC(l.ServerMAC)
	if err != nil {
		return fmt.Errorf("the server's MAC: %w", err)
	}
	return ns.Do(func() error {
		dev, err := openLink(l.Interface)
		if err != nil {
			return err
		}
		defer dev.close()
		p, err := openPort(dev.index, dev.mac)
		if err != nil {
			return err
		}
		defer p.close()
		if err := p.send(dst, l.Address.Addr(), l.Server, msg.ToBytes()); err != nil {
			return fmt.Errorf("cannot send RELEASE: %w", err)
		}
		return nil
	})
}

func releaseMessage(l Lease) (*dhcpv4.DHCPv4, error) {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return nil, fmt.Errorf("the lease's MAC: %w", err)
	}
	if l.Address.Addr() == (netip.Addr{}) {
		return nil, errors.New("the lease has no address")
	}
	msg, err := newMessage(dhcpv4.MessageTypeRelease, mac, l.ClientID)
	if err != nil {
		return nil, err
	}
	msg.ClientIPAddr = l.Address.Addr().AsSlice()
	setOption(msg, optServerID, l.Server.AsSlice())
	return msg, nil
}
