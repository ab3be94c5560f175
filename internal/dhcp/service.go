package dhcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// DefaultTimeout bounds a whole acquisition, from setting the link up to the ACK.
const DefaultTimeout = 15 * time.Second

// Observer learns of every exchange with a DHCP server, for metrics. Its methods
// are called from many goroutines and must not block.
type Observer interface {
	// ObserveExchange is called when an exchange has ended. Kind is "acquire" or
	// "release"; outcome is "ok", "no-offer", "no-ack", "nak", "link-down",
	// "canceled" or "error".
	ObserveExchange(kind, outcome string, d time.Duration)
	// CountBadFrame is called for a frame that claimed to be a DHCP reply to this
	// host and could not be used.
	CountBadFrame()
}

// Options are what a [Service] needs.
type Options struct {
	// SocketPath is where the IPAM plugin finds the service; at most 107 bytes
	// (unix(7)). Its directory must be the daemon's alone.
	SocketPath string
	// LeaseDir holds one file per lease; it is made with mode 0700 if missing.
	LeaseDir string
	// Timeout bounds a whole acquisition; zero means DefaultTimeout.
	Timeout time.Duration
	// Logger gets failures as warnings and successes as debug lines; nil discards.
	Logger *slog.Logger
	// Observer may be nil.
	Observer Observer
}

type key struct{ id, ifname string }

// Service acquires, remembers and releases leases. No lock is held during an
// exchange: mu guards the maps only, and each [Expectation] orders its own calls.
type Service struct {
	opts   Options
	log    *slog.Logger
	store  store
	http   *http.Server
	ctx    context.Context // ended by Close; every call's context descends from it
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	expected map[key]*Expectation
	leases   map[key]Lease
	listener net.Listener
	conns    map[net.Conn]struct{}
	closed   bool
	serving  sync.WaitGroup
}

// NewService loads the leases that an earlier run left in LeaseDir. A lease file
// that cannot be read or does not describe a lease is left out with a warning. The
// error is about LeaseDir itself.
func NewService(opts Options) (*Service, error) {
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if opts.Observer == nil {
		opts.Observer = noObserver{}
	}
	s := &Service{
		opts: opts, log: opts.Logger, store: store{dir: opts.LeaseDir},
		expected: map[key]*Expectation{}, conns: map[net.Conn]struct{}{},
	}
	var err error
	if s.leases, err = s.store.load(s.log); err != nil {
		return nil, fmt.Errorf("cannot load leases: %w", err)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serveRPC),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// Lease returns the lease that is held for the interface of a CNI container id.
// The slices of the result are shared and must not be changed.
func (s *Service) Lease(id, ifname string) (Lease, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.leases[key{id, ifname}]
	return l, ok
}

// Leases returns every lease that is held, in no order.
func (s *Service) Leases() []Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Lease, 0, len(s.leases))
	for _, l := range s.leases {
		all = append(all, l)
	}
	return all
}

// Forget drops a lease without telling the server, which keeps the address until
// the lease's time is over. It is for an interface that no longer exists and whose
// DEL never came. A lease that is not known is no error.
func (s *Service) Forget(id, ifname string) error {
	k := key{id, ifname}
	if err := k.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.leases, k)
	s.mu.Unlock()
	if err := s.store.remove(k); err != nil {
		return fmt.Errorf("cannot forget the lease of %s %s: %w", id, ifname, err)
	}
	return nil
}

func (s *Service) remember(l Lease) error {
	if err := s.store.write(l); err != nil {
		return fmt.Errorf("cannot record the lease of %s %s: %w", l.ID, l.Interface, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[l.key()] = l
	return nil
}

// observe reports the end of an exchange that began at start with err.
func (s *Service) observe(kind string, start time.Time, err error) {
	outcome := "error"
	switch {
	case err == nil:
		outcome = "ok"
	case errors.Is(err, ErrNoOffer):
		outcome = "no-offer"
	case errors.Is(err, ErrNoAck):
		outcome = "no-ack"
	case errors.Is(err, ErrNak):
		outcome = "nak"
	case errors.Is(err, ErrLinkDown):
		outcome = "link-down"
	case errors.Is(err, context.Canceled), errors.Is(err, ErrCanceled):
		outcome = "canceled"
	}
	s.opts.Observer.ObserveExchange(kind, outcome, time.Since(start))
}

type noObserver struct{}

func (noObserver) ObserveExchange(string, string, time.Duration) {}
func (noObserver) CountBadFrame()                                {}
