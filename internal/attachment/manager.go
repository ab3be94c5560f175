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
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/identity"
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
	All() []dhcp.Status
	Leases(id, ifname string) []dhcp.Lease
	Status(id, ifname string) []dhcp.Status
	Forget(id, ifname string) error
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
	host       identity.Host
	boot       string
	log        *slog.Logger
	now        func() time.Time
	timeout    time.Duration
	keys       locks[Key]
	places     locks[int32] // by Record.NSID; one at a time, after the key's
	replays    replays
	inherited  map[*Record]bool // from an earlier run of the daemon; Run's alone

	mu      sync.Mutex
	records map[Key]*Record // as in the journal; a record is replaced, never changed
	serial  uint64          // of the last record made
}

// Options are what a Manager works with.
type Options struct {
	Journal *Journal
	Runner  Runner
	Leases  Leases
	// LeaseSocket is the path on which CNI's dhcp plugin finds Leases.
	LeaseSocket string
	Namespaces  Namespaces
	// Finder reaches namespaces for Reopen.
	Finder Finder
	// Host is what identities are derived from.
	Host identity.Host
	// Timeout is for all that one Attach does, the removal of what was there before
	// included; undoing it has as long again. 0 sets no bound.
	Timeout time.Duration
	Logger  *slog.Logger
}

// NewManager reads the journal. Run has to be called for what is gone to be released.
func NewManager(o Options) (*Manager, error) {
	m := &Manager{
		journal: o.Journal, runner: o.Runner, leases: o.Leases, socket: o.LeaseSocket,
		namespaces: o.Namespaces, finder: o.Finder, host: o.Host, log: o.Logger, now: time.Now, timeout: o.Timeout,
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

// withdraw takes back what reserve has shown.
func (m *Manager) withdraw(r *Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, r.Key)
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
