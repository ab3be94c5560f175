package attachment

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/identity"
	"github.com/net-porter/net-porter/internal/netns"
)

// Runner runs chains of CNI plugins; *cni.Runner is one.
type Runner interface {
	Add(context.Context, *cni.Network, cni.Invocation) (*types100.Result, error)
	Del(context.Context, *cni.Network, cni.Invocation) error
	Check(context.Context, *cni.Network, cni.Invocation) error
	Cached() ([]cni.Leftover, error)
	Discard(containerID, ifname string) error
}

// Leases is the service that CNI's dhcp plugin talks to; *dhcp.Service is one.
type Leases interface {
	Expect(dhcp.Attachment) (*dhcp.Expectation, error)
	All() []dhcp.Status
	Leases(id, ifname string) []dhcp.Lease
	Status(id, ifname string) []dhcp.Status
	Forget(id, ifname string) error
	Recheck(id, ifname string)
}

// Manager makes and removes attachments. Its methods may be called at once from
// many goroutines; those for the same key, and those in the same namespace, run one
// after the other.
type Manager struct {
	journal    *Journal
	runner     Runner
	leases     Leases
	socket     string
	namespaces Namespaces
	finder     Finder
	guard      guard
	host       identity.Host
	boot       string
	log        *slog.Logger
	now        func() time.Time
	timeout    atomic.Int64 // a time.Duration
	turns      *fair.Queue
	keys       locks[Key]
	places     locks[int32] // by Record.NSID; one at a time, after the key's
	replays    replays
	networks   func() []*cni.Network
	explain    func(error) string
	released   func(resource string, err error)
	releases   *fair.Lanes[Key]
	reasons    reasons          // of releases
	inherited  map[*Record]bool // from an earlier run of the daemon; recover's alone
	failed     chan struct{}    // holds one value when a removal has failed since Run looked

	mu      sync.Mutex
	records map[Key]*Record // as in the journal; a record is replaced, never changed
	serial  uint64          // of the last record made
}

// Options are what a Manager works with.
type Options struct {
	Journal *Journal
	Runner  Runner
	Leases  Leases
	// ReplayLog is the file that keeps for the next daemon what was released last, "" for none.
	ReplayLog string
	// LeaseSocket is the path on which CNI's dhcp plugin finds Leases.
	LeaseSocket string
	Namespaces  Namespaces
	// Finder reaches namespaces for Reopen.
	Finder Finder
	// Guard holds containers to their addresses; nil: nothing does.
	Guard Guard
	// Host is what identities are derived from.
	Host identity.Host
	// Timeout is for all that one Attach does once it is its turn, the removal of what was
	// there before included; undoing it has as long again. 0 sets no bound.
	Timeout time.Duration
	// Turns is where work waits for its user's turn; nil: nobody waits. It is the Runner's,
	// too. What is to be undone after a failure is so in the same turn.
	Turns *fair.Queue
	// Networks, if not nil, are those of today's resources, in whose addresses Collect
	// looks for such as nobody owns.
	Networks func() []*cni.Network
	// Explain puts an error into words for an attachment's owner, which name nothing of
	// the host's; nil: as it is.
	Explain func(error) string
	// Released, if not nil, is told of every removal that nobody has asked for, of what is
	// dead or owed, and how it ended.
	Released func(resource string, err error)
	Logger   *slog.Logger
}

// NewManager reads the journal. Run has to be called for what is gone to be released.
func NewManager(o Options) (*Manager, error) {
	m := &Manager{
		journal: o.Journal, runner: o.Runner, leases: o.Leases, socket: o.LeaseSocket,
		namespaces: o.Namespaces, finder: o.Finder, guard: guard{Guard: o.Guard}, host: o.Host, log: o.Logger, now: time.Now, turns: o.Turns,
		networks: o.Networks, explain: o.Explain, released: o.Released,
		releases: fair.NewLanes[Key](reapAtOnce),
		records:  map[Key]*Record{}, inherited: map[*Record]bool{}, failed: make(chan struct{}, 1),
	}
	if m.networks == nil {
		m.networks = func() []*cni.Network { return nil }
	}
	if m.explain == nil {
		m.explain = error.Error
	}
	if m.released == nil {
		m.released = func(string, error) {}
	}
	m.SetTimeout(o.Timeout)
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
	if o.ReplayLog != "" {
		if err := m.replays.open(o.ReplayLog, m.now()); err != nil {
			m.log.Warn("a podman network reload that began before the daemon's start is refused", "error", err)
		}
	}
	return m, nil
}

// SetTimeout changes Options.Timeout for what begins from now on.
func (m *Manager) SetTimeout(d time.Duration) { m.timeout.Store(int64(d)) }

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
	// GIDs are the groups by which the user is allowed to have it, and DetachOnRevoke that
	// it is not to outlive that.
	GIDs           []uint32
	DetachOnRevoke bool
	// Enforced: the resource holds what it sends to what it holds.
	Enforced bool
	// StaticMAC is the MAC of the user's choice that was granted, "" for none.
	StaticMAC string
	// Claims are what has to be nobody else's.
	Claims Claims
	// Wanted are addresses to have again, which the plugins may or may not grant.
	Wanted []netip.Addr
	// Address is one to have of a DHCP server or not to be attached; invalid: any.
	Address netip.Addr

	// KnownAs is the container's name or id, by which its LAN is to know it again.
	KnownAs string
	// StableMAC: the MAC is derived from what the interface is known by.
	StableMAC bool
	// DHCPTimeout bounds an acquisition of addresses; 0 means dhcp.DefaultTimeout.
	DHCPTimeout time.Duration
	// Probe: a DHCP address is used only if no other machine claims it.
	Probe bool
	// IPv6Wait is how long IPv6 addresses are waited for to be ready, those of router
	// advertisements among them.
	IPv6Wait time.Duration
}

// Replays reports whether the addresses are those that the key had a moment ago on
// the resource.
func (m *Manager) Replays(k Key, resource string, ips []netip.Addr, mac net.HardwareAddr) (Replay, bool) {
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
		if age := a.Created.Compare(b.Created); age != 0 {
			return age
		}
		return cmp.Compare(a.Key.String(), b.Key.String()) // hardly ever, as it takes long
	})
	return all
}

// lastSerial is the serial of the last record made.
func (m *Manager) lastSerial() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.serial
}

func (m *Manager) nextSerial() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.serial++
	return m.serial
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

// FailedCounts returns the number of records whose removal has failed, by resource;
// every resource of a record is in it.
func (m *Manager) FailedCounts() map[string]int {
	counts := map[string]int{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.records {
		failed := 0
		if r.Failure != nil {
			failed = 1
		}
		counts[r.Resource] += failed
	}
	return counts
}

// withdraw takes back what reserve has shown.
func (m *Manager) withdraw(r *Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, r.Key)
}

// put writes a record that is in the state that it was in.
func (m *Manager) put(r *Record) error {
	if err := m.journal.Write(r); err != nil {
		return err
	}
	m.show(r)
	return nil
}
