package attachment

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/netns"
)

// Runner runs chains of CNI plugins; *cni.Runner is one.
type Runner interface {
	Add(context.Context, *cni.Network, cni.Invocation) (*types100.Result, error)
	Del(context.Context, *cni.Network, cni.Invocation) error
}

// Leases is the service that CNI's dhcp plugin talks to; *dhcp.Service is one.
type Leases interface {
	Expect(dhcp.Attachment) (*dhcp.Expectation, error)
	Lease(id, ifname string) (dhcp.Lease, bool)
	Forget(id, ifname string) error
}

// Manager makes and removes attachments. Its methods may be called at once from
// many goroutines; those for the same key run one after the other.
type Manager struct {
	journal    *Journal
	runner     Runner
	leases     Leases
	socket     string
	namespaces Namespaces
	boot       string
	log        *slog.Logger
	now        func() time.Time
	locks      locks
	replays    replays
	inherited  map[*Record]bool // from an earlier run of the daemon; Run's alone

	mu      sync.Mutex
	records map[Key]*Record // as in the journal; a record is replaced, never changed
}

// Options are what a Manager works with.
type Options struct {
	Journal *Journal
	Runner  Runner
	Leases  Leases
	// LeaseSocket is the path on which CNI's dhcp plugin finds Leases.
	LeaseSocket string
	Namespaces  Namespaces
	Logger      *slog.Logger
}

// NewManager reads the journal. Run has to be called for what is gone to be released.
func NewManager(o Options) (*Manager, error) {
	m := &Manager{
		journal: o.Journal, runner: o.Runner, leases: o.Leases, socket: o.LeaseSocket,
		namespaces: o.Namespaces, log: o.Logger, now: time.Now,
		records: map[Key]*Record{}, inherited: map[*Record]bool{},
	}
	var err error
	if m.boot, err = netns.BootID(); err != nil {
		return nil, err
	}
	records, err := m.journal.Load()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		m.records[r.Key] = r
		m.inherited[r] = true
	}
	return m, nil
}

// Request is what an attachment is made of; all of it has been checked.
type Request struct {
	Key
	Container string // podman's name for the container
	User      string
	Resource  string
	Network   *cni.Network
	Namespace *netns.Namespace
	// Args are the CNI_ARGS.
	Args [][2]string
	// Ports is the value of the portMappings capability, nil without any.
	Ports json.RawMessage
	// Wanted are addresses to have again, which the plugins may or may not grant.
	Wanted []netip.Addr
}

// Attach makes an attachment. On any error nothing of it is left, or, where the
// undo itself failed, a record in state detaching is. A context that ends is a
// caller that hung up: what was made is undone.
func (m *Manager) Attach(ctx context.Context, q Request) (*Record, error) {
	release, err := m.locks.acquire(ctx, q.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAbandoned, err)
	}
	defer release()

	if old, ok := m.Get(q.Key); ok {
		if old.State == Attached && old.Namespace == q.Namespace.ID() && hasLink(q.Namespace, q.Interface) {
			return nil, ErrAlreadyAttached
		}
		// A container that died without a teardown starts again: the old one goes first.
		if err := m.remove(ctx, old, q.Namespace); err != nil {
			return nil, fmt.Errorf("cannot remove what the container had before: %w", err)
		}
	}

	nsid, _, err := m.namespaces.Assign(q.Namespace)
	if err != nil {
		return nil, err
	}
	r := &Record{
		Version: recordVersion, Key: q.Key, Container: q.Container, User: q.User,
		Resource: q.Resource, State: Pending, Created: m.now().UTC(),
		Namespace: q.Namespace.ID(), NSID: nsid, Config: q.Network.Bytes(), Args: q.Args, Ports: q.Ports,
	}
	if err := m.put(r); err != nil {
		return nil, err
	}
	result, err := m.add(ctx, r, q)
	if err == nil {
		r, err = m.complete(ctx, r, result)
	}
	if err != nil {
		if undoErr := m.remove(ctx, r, q.Namespace); undoErr != nil {
			m.log.Error("cannot undo a failed attach; it is tried again later", "attachment", r.Key.String(), "error", undoErr)
		}
		return nil, err
	}
	return r, nil
}

// add runs CNI ADD. Addresses that are wanted again may have gone to somebody else
// meanwhile, which is no reason to go without any.
func (m *Manager) add(ctx context.Context, r *Record, q Request) (*Result, error) {
	result, err := m.addWanting(ctx, r, q, q.Wanted)
	if err == nil || len(q.Wanted) == 0 || ctx.Err() != nil {
		return result, err
	}
	if delErr := m.del(ctx, r, q.Namespace); delErr != nil {
		return nil, errors.Join(err, delErr)
	}
	return m.addWanting(ctx, r, q, nil)
}

// addWanting runs CNI ADD with the lease service waiting for its call.
func (m *Manager) addWanting(ctx context.Context, r *Record, q Request, wanted []netip.Addr) (*Result, error) {
	expectation, err := m.expect(r, q.Namespace, wanted)
	if err != nil {
		return nil, err
	}
	defer expectation.Done()
	network := q.Network.WithAddressHints(wanted).WithDHCPSocket(m.socket)
	res, err := m.runner.Add(ctx, network, r.invocation(q.Namespace))
	if err != nil {
		// The plugin passes on a text; the service knows what it was.
		return nil, errors.Join(err, expectation.Err())
	}
	// The path of a descriptor of ours means nothing, or another thing, once it is closed.
	for _, link := range res.Interfaces {
		if link.Sandbox != "" {
			link.Sandbox = r.Namespace.String()
		}
	}
	result := &Result{CNI: res}
	if lease, ok := m.leases.Lease(r.CNIContainerID(), r.Interface); ok {
		result.Lease = &lease
	}
	return result, nil
}

func (m *Manager) complete(ctx context.Context, r *Record, result *Result) (*Record, error) {
	if ctx.Err() != nil {
		return r, fmt.Errorf("%w: %w", ErrAbandoned, context.Cause(ctx))
	}
	done := *r
	done.State, done.Result = Attached, result
	if err := m.put(&done); err != nil {
		return r, err
	}
	return &done, nil
}

// Detach removes an attachment by its record; that there is none is no error.
// Presented is the namespace that the caller showed and proved, or nil. The work
// is finished even if the caller hangs up.
func (m *Manager) Detach(ctx context.Context, k Key, presented *netns.Namespace) error {
	ctx = context.WithoutCancel(ctx)
	release, err := m.locks.acquire(ctx, k)
	if err != nil {
		return err
	}
	defer release()
	r, ok := m.Get(k)
	if !ok {
		return nil
	}
	return m.remove(ctx, r, presented)
}

// remove runs CNI DEL for a record and forgets it. The caller holds the key's lock.
func (m *Manager) remove(ctx context.Context, r *Record, presented *netns.Namespace) error {
	ctx = context.WithoutCancel(ctx)
	going := *r
	going.State = Detaching
	if err := m.put(&going); err != nil {
		// What is owed is in the journal in any state: go on.
		m.log.Error("cannot mark an attachment as detaching", "attachment", r.Key.String(), "error", err)
	}
	namespace := presented
	if namespace != nil && namespace.ID() != r.Namespace {
		namespace = nil // somebody else's, or the next one of this container
	}
	// Without the namespace CNI gives the address back and leaves the link, which in a
	// namespace that lives on would go on using it.
	if namespace == nil && r.Namespace.BootID == m.boot && netns.Lasting(r.NSID) {
		// A link that cannot be removed is hardware, which the kernel gives back to the
		// host when the namespace dies.
		if err := m.namespaces.DeleteLink(r.NSID, r.Interface); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("cannot remove the interface from its namespace: %w", err)
		}
	}
	if err := m.del(ctx, r, namespace); err != nil {
		return err
	}
	if err := m.journal.Remove(r.Key); err != nil {
		return err
	}
	m.mu.Lock()
	delete(m.records, r.Key)
	m.mu.Unlock()
	m.replays.remember(r, m.now())
	return nil
}

// del runs CNI DEL with the lease service waiting for its call.
func (m *Manager) del(ctx context.Context, r *Record, ns *netns.Namespace) error {
	network, err := cni.Parse(r.Resource, r.Config)
	if err != nil {
		return fmt.Errorf("cannot use the recorded configuration: %w", err)
	}
	expectation, err := m.expect(r, ns, nil)
	if err != nil {
		return err
	}
	defer expectation.Done()
	if err := m.runner.Del(ctx, network.WithDHCPSocket(m.socket), r.invocation(ns)); err != nil {
		return err
	}
	// A chain that failed before its IPAM part was reached has left a lease behind.
	return m.leases.Forget(r.CNIContainerID(), r.Interface)
}

func (m *Manager) expect(r *Record, ns *netns.Namespace, wanted []netip.Addr) (*dhcp.Expectation, error) {
	a := dhcp.Attachment{ID: r.CNIContainerID(), Interface: r.Interface}
	if ns != nil {
		a.Namespace = ns
	}
	for _, ip := range wanted {
		if ip.Is4() {
			a.RequestedIP = ip
			break
		}
	}
	return m.leases.Expect(a)
}

// Replays reports whether the addresses are those that the key had a moment ago on
// the resource, and in which namespace it had them: the caller has to present the
// same one.
func (m *Manager) Replays(k Key, resource string, ips []netip.Addr, mac net.HardwareAddr) (netns.ID, bool) {
	return m.replays.covers(k, resource, ips, mac, m.now())
}

// Get returns the record of a key. It must not be changed.
func (m *Manager) Get(k Key) (*Record, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[k]
	return r, ok
}

// List returns every record, oldest first. They must not be changed.
func (m *Manager) List() []*Record {
	m.mu.Lock()
	all := make([]*Record, 0, len(m.records))
	for _, r := range m.records {
		all = append(all, r)
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b *Record) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Key.String(), b.Key.String()))
	})
	return all
}

// Counts returns the number of records by resource.
func (m *Manager) Counts() map[string]int {
	counts := map[string]int{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.records {
		counts[r.Resource]++
	}
	return counts
}

func (m *Manager) put(r *Record) error {
	if err := m.journal.Write(r); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records[r.Key] = r
	return nil
}
