package dhcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// DefaultTimeout bounds a whole acquisition, from setting the link up to the ACK.
const DefaultTimeout = 15 * time.Second

// Observer learns of every exchange with a DHCP server, for metrics. Its methods
// are called from many goroutines and must not block.
type Observer interface {
	// ObserveExchange is called when an exchange has ended. Kind is "acquire", "renew",
	// "rebind", "reboot", "discover", "probe", "settle", "release" or "decline"; outcome is "ok",
	// "no-offer", "no-ack", "nak", "other-address", "conflict", "link-down", "unreachable"
	// (no exchange came about), "canceled" or "error".
	ObserveExchange(ipVersion int, kind, outcome string, d time.Duration)
	// CountBadFrame is called for a frame that claimed to be a DHCP reply to this
	// host and could not be used.
	CountBadFrame()
	// CountAddressChange is called when a container that runs gets another address.
	CountAddressChange()
}

// Options are what a [Service] needs.
type Options struct {
	// SocketPath is where the IPAM plugin finds the service; at most 107 bytes
	// (unix(7)). Its directory must be the daemon's alone.
	SocketPath string
	// LeaseDir holds one file per lease; it is made with mode 0700 if missing.
	LeaseDir string
	// BootID tells this boot from others (random(4)). A lease of another one has ended with
	// its namespace; the server has it until its time is over.
	BootID string
	// Logger gets failures as warnings and successes as debug lines; nil discards.
	Logger *slog.Logger
	// Observer may be nil.
	Observer Observer
	// Holds, if not nil, is called before an interface uses what a server has granted: with
	// the address that comes to what Leases has of it, or none where that has changed.
	Holds func(id, ifname string, also netip.Addr)
	// Witness, if not nil, says of an interface whether the host has to hear of what is
	// granted to it: on the link of which index, and for which MAC; 0 if not. See
	// [Service.Recheck].
	Witness func(id, ifname string) (parent int, mac net.HardwareAddr, err error)

	clock clock // nil: bootClock
	// What one try to prolong a lease, and one to get a new one, may take; zero means
	// prolongTime and discoverTime.
	prolongTime, discoverTime time.Duration
}

// place is an interface of a container, key a lease of it.
type (
	place struct{ id, ifname string }
	key   struct {
		id, ifname string
		family     Family
	}
)

func (k key) place() place { return place{k.id, k.ifname} }

// Service acquires, keeps and releases leases. No lock is held during an exchange: mu
// guards the maps only, and each [Expectation] orders its own calls.
type Service struct {
	opts   Options
	log    *slog.Logger
	store  store
	clock  clock
	bootID string
	memory memory
	http   *http.Server
	ctx    context.Context // ended by Close; every call's context descends from it
	cancel context.CancelCauseFunc
	wake   chan struct{} // holds one value when Keep has to look

	mu       sync.Mutex
	expected map[place]*Expectation
	entries  map[key]*entry
	running  int // steps
	// runningOf counts them by user.
	runningOf map[string]int
	listener  net.Listener
	conns     map[net.Conn]struct{}
	closed    bool
	serving   sync.WaitGroup
	steps     sync.WaitGroup
	closing   sync.WaitGroup // sessions
}

// NewService loads the leases that an earlier run left in LeaseDir. A lease file
// that cannot be read or does not describe a lease is left out with a warning. The
// error is about LeaseDir itself.
func NewService(opts Options) (*Service, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if opts.Observer == nil {
		opts.Observer = noObserver{}
	}
	if opts.Holds == nil {
		opts.Holds = func(string, string, netip.Addr) {}
	}
	if opts.Witness == nil {
		opts.Witness = func(string, string) (int, net.HardwareAddr, error) { return 0, nil, nil }
	}
	if opts.clock == nil {
		opts.clock = bootClock{}
	}
	opts.prolongTime = cmp.Or(opts.prolongTime, prolongTime)
	opts.discoverTime = cmp.Or(opts.discoverTime, discoverTime)
	s := &Service{
		opts: opts, log: opts.Logger, store: newStore(opts.LeaseDir), clock: opts.clock, bootID: opts.BootID,
		expected: map[place]*Expectation{}, entries: map[key]*entry{}, conns: map[net.Conn]struct{}{},
		wake: make(chan struct{}, 1), runningOf: map[string]int{},
	}
	leases, err := s.store.load(s.log)
	if err != nil {
		return nil, fmt.Errorf("cannot load leases: %w", err)
	}
	now := s.clock.now()
	for _, l := range leases {
		due := s.dueAt(&l, now)
		e := &entry{lease: l, due: due, confirm: due <= now && !l.Expired}
		s.entries[l.key()] = e
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serveRPC),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// Leases returns the leases that are held for an interface of a CNI container id, IPv4
// first. What they refer to is shared and must not be changed.
func (s *Service) Leases(id, ifname string) []Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	var leases []Lease
	for _, e := range s.of(place{id, ifname}) {
		leases = append(leases, e.lease)
	}
	return leases
}

// Status is Leases with what time makes of them.
func (s *Service) Status(id, ifname string) []Status {
	return s.statuses(s.Leases(id, ifname))
}

// All returns every lease that is held, in no order.
func (s *Service) All() []Status {
	s.mu.Lock()
	leases := make([]Lease, 0, len(s.entries))
	for _, e := range s.entries {
		leases = append(leases, e.lease)
	}
	s.mu.Unlock()
	return s.statuses(leases)
}

// Summary tells of each resource that has leases how many are in which state, every state
// included, and how long it is until the first of those that have an end is over; ends is
// false if none has.
func (s *Service) Summary(tell func(resource string, byState map[string]int, toExpiry time.Duration, ends bool)) {
	type summary struct {
		byState  map[string]int
		toExpiry time.Duration
		ends     bool
	}
	all := map[string]*summary{}
	s.mu.Lock()
	now := s.clock.now()
	for _, e := range s.entries {
		l := &e.lease
		if l.BootID != s.bootID {
			continue // it is over, whatever this boot's clock says of it
		}
		of := all[l.Resource]
		if of == nil {
			of = &summary{byState: map[string]int{}}
			for _, state := range States() {
				of.byState[string(state)] = 0
			}
			all[l.Resource] = of
		}
		of.byState[string(l.stateAt(now))]++
		if l.Infinite() || l.Superseded {
			continue
		}
		left := l.left(now) // of an expired one it is 0, as bad as it gets
		if !of.ends || left < of.toExpiry {
			of.toExpiry, of.ends = left, true
		}
	}
	s.mu.Unlock()
	for resource, of := range all {
		tell(resource, of.byState, of.toExpiry, of.ends)
	}
}

func (s *Service) statuses(leases []Lease) []Status {
	now := s.clock.now()
	all := make([]Status, 0, len(leases))
	for _, l := range leases {
		all = append(all, l.status(now))
	}
	return all
}

// Forget gives an interface's leases back from the host, as well as can be, and drops
// them. It is for an interface that no longer exists and whose DEL never came. A lease
// that is not known is no error.
func (s *Service) Forget(id, ifname string) error {
	p := place{id, ifname}
	if err := p.validate(); err != nil {
		return err
	}
	for _, l := range s.Leases(id, ifname) {
		s.tellServer(l, &Attachment{})
	}
	var errs []error
	for _, family := range []Family{IPv4, IPv6} {
		errs = append(errs, s.forget(key{id, ifname, family}))
	}
	return errors.Join(errs...)
}

func (s *Service) forget(k key) error {
	s.mu.Lock()
	delete(s.entries, k)
	s.mu.Unlock()
	if err := s.store.remove(k); err != nil {
		return fmt.Errorf("cannot forget the lease of %s %s: %w", k.id, k.ifname, err)
	}
	return nil
}

// remember records a lease, and shows it from now on. That it is superseded is never
// forgotten, whoever learns of it meanwhile.
func (s *Service) remember(l Lease) error {
	for {
		if err := s.store.write(l); err != nil {
			return fmt.Errorf("cannot record the lease of %s %s: %w", l.ID, l.Interface, err)
		}
		if s.show(&l) {
			return nil
		}
	}
}

// show takes a lease that was recorded for what is true; it returns false when the
// record is behind.
func (s *Service) show(l *Lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[l.key()]
	switch {
	case e == nil:
		s.entries[l.key()] = &entry{lease: *l, due: s.dueAt(l, s.clock.now())}
	case e.lease.Superseded && !l.Superseded:
		*l = l.supersede()
		return false
	default:
		e.lease = *l
	}
	return true
}

// supersede marks what other attachments hold under the identifier of a lease that has
// just been granted: to the server it is one lease, and not theirs to release. Nor to
// use: it is taken from their interfaces.
func (s *Service) supersede(l *Lease) {
	var marked []Lease
	s.mu.Lock()
	for k, e := range s.entries {
		other := &e.lease
		if k != l.key() && !other.Superseded && other.binding() == l.binding() {
			*other = other.supersede()
			e.due = s.dueAt(other, s.clock.now())
			marked = append(marked, *other)
		}
	}
	s.mu.Unlock()
	s.awake()
	for _, other := range marked {
		s.logOf(&other).Warn("a lease has gone to another attachment with the same client identifier", "to", l.ID, "address", l.Address)
		if err := s.store.write(other); err != nil {
			s.log.Error("cannot record that a lease has gone to another attachment", "id", other.ID, "error", err)
		}
	}
}

func (s *Service) observe(family Family, kind string, start time.Time, err error) {
	s.opts.Observer.ObserveExchange(int(family), kind, outcomeOf(err), time.Since(start))
}

// noPanic makes an error of a panic: one in an exchange, whose frames anybody on the LAN
// can write, must not end the daemon with every lease that it keeps.
func (s *Service) noPanic(err *error) {
	if p := recover(); p != nil {
		s.log.Error("panic in a DHCP exchange", "panic", p, "stack", string(debug.Stack()))
		*err = errInternal
	}
}

type noObserver struct{}

func (noObserver) ObserveExchange(int, string, string, time.Duration) {}
func (noObserver) CountBadFrame()                                     {}
func (noObserver) CountAddressChange()                                {}
