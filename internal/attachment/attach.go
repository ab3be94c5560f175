package attachment

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/netns"
)

// Attach makes an attachment. On any error nothing of it is left, or, where the
// undo itself failed, a record in state detaching is. A context that ends is a
// caller that hung up: what was made is undone, and the error is ErrAbandoned beside
// what it came to. Options.Timeout is not the caller's: it ends Attach with
// cni.ErrTimeout or context.DeadlineExceeded. Where it is not the user's turn in time
// nothing was begun, and the error is fair.ErrBusy, or fair.ErrClosed.
func (m *Manager) Attach(ctx context.Context, q Request) (*Record, error) {
	m.releaseFor(ctx, q) // before the lock: it takes others
	release, err := m.keys.acquire(ctx, q.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAbandoned, err)
	}
	defer release()
	// After the key's lock and before that of the namespace, as everywhere: who has a turn
	// waits for no lock of somebody who waits for one.
	turn, leave, err := m.turns.Enter(ctx, q.UID, fair.Make)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ErrAbandoned, err)
		}
		return nil, err
	}
	defer leave()
	bounded, cancel := m.bounded(turn)
	defer cancel()
	record, err := m.attach(bounded, q)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(fmt.Errorf("%w: %w", ErrAbandoned, context.Cause(ctx)), err)
	}
	return record, err
}

// releaseFor releases what is dead and in the way of an attach.
func (m *Manager) releaseFor(ctx context.Context, q Request) {
	bounded, cancel := m.bounded(ctx)
	defer cancel()
	m.releaseNamesake(bounded, q)
	m.releaseBlockers(bounded, q)
}

// attach is Attach with the key's lock held, in the user's turn.
func (m *Manager) attach(ctx context.Context, q Request) (*Record, error) {
	nsid, _, err := m.namespaces.Assign(q.Namespace)
	if err != nil {
		return nil, err
	}
	// Users can bring that about, and then attach what nobody would find again. Root
	// has no need to.
	if q.UID != 0 && !netns.Lasting(nsid) {
		return nil, ErrForeignID
	}
	if err := m.replace(ctx, q, nsid); err != nil {
		return nil, err
	}
	leave, err := m.places.acquire(ctx, nsid)
	if err != nil {
		return nil, fmt.Errorf("cannot begin: other interfaces of the container take their time: %w", err)
	}
	defer leave()
	r := &Record{
		Version: recordVersion, Key: q.Key, Container: q.Container, User: q.User,
		Resource: q.Resource, State: Pending, Created: m.now().UTC(),
		Namespace: q.Namespace.ID(), NSID: nsid, Config: q.Network.Bytes(), Args: q.Args, Ports: q.Ports,
		Parent: parentOf(q.Network), Enforced: q.Enforced, GIDs: q.GIDs, DetachOnRevoke: q.DetachOnRevoke, Static: q.Claims.IPs, StaticMAC: q.StaticMAC,
		serial: m.nextSerial(),
	}
	if r.Before, err = m.linksBefore(r, q.Namespace); err != nil {
		return nil, err
	}
	if err := m.reserve(r, q); err != nil {
		return nil, err
	}
	if err := m.put(r); err != nil {
		m.withdraw(r)
		return nil, err
	}
	var result *Result
	if err = m.admitNew(r); err == nil {
		result, err = m.add(ctx, r, q)
	}
	if err == nil {
		r, err = m.complete(ctx, r, q, result)
	}
	if err != nil {
		undo, cancel := m.bounded(context.WithoutCancel(ctx))
		defer cancel()
		if undoErr := m.removeLocked(undo, r, q.Namespace); undoErr != nil {
			m.logOf(r).Error("cannot undo a failed attach; it is tried again later", audit.ReleaseFailed.Attr(), "error", undoErr)
		}
		return nil, err
	}
	return r, nil
}

// replace removes what the key had before: a container that died without a teardown
// starts again.
func (m *Manager) replace(ctx context.Context, q Request, nsid int32) error {
	old, ok := m.Get(q.Key)
	if !ok {
		return nil
	}
	if old.State == Attached && old.Namespace == q.Namespace.ID() && old.NSID == nsid {
		there, err := m.isThere(old, q.Namespace)
		if err != nil {
			return err
		}
		if there {
			return ErrAlreadyAttached
		}
	}
	// A caller who hangs up does not stop it half-way, but time does.
	removal := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		removal, cancel = context.WithDeadline(removal, deadline)
		defer cancel()
	}
	log := m.logOf(old)
	if err := m.remove(removal, old, q.Namespace); err != nil {
		log.Warn("cannot remove what a container had before its next attach; it is tried again", audit.ReleaseFailed.Attr(), "error", err)
		return fmt.Errorf("cannot remove what the container had before: %w", err)
	}
	log.Info("released what a container had before its next attach", audit.Release.Attr())
	return nil
}

// bounded gives work the time that one Attach has.
func (m *Manager) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := time.Duration(m.timeout.Load())
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// add runs CNI ADD. Addresses that are wanted again may have gone to somebody else
// meanwhile, which is no reason to go without any; that time ran out is.
func (m *Manager) add(ctx context.Context, r *Record, q Request) (*Result, error) {
	result, err := m.addSoon(ctx, r, q, q.Wanted)
	if err == nil || len(q.Wanted) == 0 || ctx.Err() != nil || outOfTime(err) {
		return result, err
	}
	if delErr := errors.Join(m.del(ctx, r, q.Namespace), m.removeLinks(r, q.Namespace)); delErr != nil {
		return nil, errors.Join(err, delErr)
	}
	return m.addSoon(ctx, r, q, nil)
}

// How long, and how often, an ADD is tried again whose MAC the kernel still has.
const (
	busyMAC      = 10 * time.Second
	busyMACPause = 20 * time.Millisecond
)

// addSoon runs CNI ADD, again while the kernel has not yet taken apart a link with the
// same MAC: that of the same container before it died. Nothing tells when it has.
func (m *Manager) addSoon(ctx context.Context, r *Record, q Request, wanted []netip.Addr) (*Result, error) {
	patience, cancel := context.WithTimeout(ctx, busyMAC)
	defer cancel()
	for {
		result, err := m.addWanting(ctx, r, q, wanted)
		if err == nil || !isMACBusy(err) || patience.Err() != nil {
			return result, err
		}
		if delErr := errors.Join(m.del(ctx, r, q.Namespace), m.removeLinks(r, q.Namespace)); delErr != nil {
			return nil, errors.Join(err, delErr)
		}
		pause := time.NewTimer(busyMACPause)
		select {
		case <-pause.C:
		case <-patience.Done():
			pause.Stop()
		}
	}
}

// isMACBusy says whether a plugin failed because another link on the same parent has
// the MAC: the kernel's EADDRINUSE, of which the plugin passes on the text. What DHCP
// fails with is not that: the lease service itself waits for the link.
func isMACBusy(err error) bool {
	failure, ok := errors.AsType[*cni.PluginError](err)
	return ok && strings.Contains(failure.Message, unix.EADDRINUSE.Error()) && !strings.Contains(failure.Message, "DHCP.Allocate")
}

func outOfTime(err error) bool {
	for _, cause := range []error{cni.ErrTimeout, context.DeadlineExceeded, context.Canceled, grant.ErrNoOffer} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

// addWanting runs CNI ADD with the lease service waiting for its call.
func (m *Manager) addWanting(ctx context.Context, r *Record, q Request, wanted []netip.Addr) (*Result, error) {
	expected := m.expected(r, q.Namespace)
	expected.Wish, expected.Timeout, expected.Probe = wish(q.Address, wanted), q.DHCPTimeout, q.Probe
	expectation, err := m.leases.Expect(expected)
	if err != nil {
		return nil, err
	}
	defer expectation.Done()
	network := q.Network.WithAddressHints(wanted).WithDHCPSocket(m.socket)
	res, err := m.runner.Add(ctx, network, r.invocation(q.Namespace))
	if err != nil {
		return nil, leaseFailure{err, expectation.Err()}
	}
	// The path of a descriptor of ours means nothing, or another thing, once it is closed.
	for _, link := range res.Interfaces {
		if link.Sandbox != "" {
			link.Sandbox = r.Namespace.String()
		}
	}
	return &Result{CNI: res, Leases: m.leases.Leases(r.CNIContainerID(), r.Interface)}, nil
}

// leaseFailure is a failure of a plugin's that may be one of the lease service's, of which
// the plugin passes on the text alone.
type leaseFailure struct{ plugin, lease error }

func (f leaseFailure) Error() string { return f.plugin.Error() }

func (f leaseFailure) Unwrap() []error {
	if f.lease == nil {
		return []error{f.plugin}
	}
	return []error{f.plugin, f.lease}
}

// complete records what ADD made. Without success it returns the record as it was.
func (m *Manager) complete(ctx context.Context, r *Record, q Request, result *Result) (*Record, error) {
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	done := *r
	done.Result = result
	link, err := m.newLink(r, q.Namespace, result)
	if err != nil {
		return r, err
	}
	done.Link, done.OnHost = link.Index, link.OnHost
	if err := m.addIPv6(ctx, &done, q); err != nil {
		return r, err
	}
	if err := m.admit(&done); err != nil {
		return r, err
	}
	return m.become(r, made, func(r *Record) {
		r.Result, r.Learned, r.Link, r.OnHost = done.Result, done.Learned, done.Link, done.OnHost
	})
}

// expected is the record's attachment as the lease service waits for it.
func (m *Manager) expected(r *Record, ns *netns.Namespace) dhcp.Attachment {
	a := dhcp.Attachment{
		ID: r.CNIContainerID(), Interface: r.Interface, Container: r.Container, Resource: r.Resource,
		Index: r.Link, Identity: m.leaseIdentity(r),
	}
	if ns != nil {
		a.Namespace = ns
	}
	return a
}

// wish is the one address of DHCP's that is to be had, or to be had again.
func wish(address netip.Addr, wanted []netip.Addr) grant.Wish {
	if address.IsValid() {
		return grant.Wish{Address: address, Strict: true}
	}
	for _, ip := range wanted {
		if ip.Is4() {
			return grant.Wish{Address: ip}
		}
	}
	return grant.Wish{}
}
