package dhcp

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// Namespace is a network namespace that code can be run in.
type Namespace interface {
	// Do runs fn on a thread that is inside the namespace and returns its error.
	Do(fn func() error) error
}

// Attachment is an interface of a container for which the IPAM plugin will call.
type Attachment struct {
	// ID is CNI's container id, "<uid>.<container id>".
	ID string
	// Interface is the interface's name inside the namespace.
	Interface string
	// Container and Resource are for the log: podman's name for the container, and where
	// it is attached.
	Container, Resource string
	// Index is the interface's index inside the namespace, for a release; 0 if unknown.
	Index int
	// Namespace is entered until Done returns and not a moment longer; nil when it is
	// gone, which suits a release only.
	Namespace Namespace

	// Identity is who the client is to servers; a "provide" of dhcp-client-identifier in
	// the configuration goes before its ClientID.
	Identity Identity
	// Wish is the IPv4 address that is asked for, if any.
	Wish grant.Wish
	// Timeout bounds the whole acquisition; zero means DefaultTimeout.
	Timeout time.Duration
	// Probe: an address is used only if no other machine claims it (RFC 5227).
	Probe bool
}

// Identity is who a client is to servers.
type Identity struct {
	ClientID []byte // option 61; nil: one that is made of ID, network and interface
	DUID     []byte // DHCPv6 (RFC 8415, section 11); nil: one of the MAC
	IAID     uint32 // DHCPv6 (RFC 8415, section 12)
}

// Expectation admits the IPAM plugin's calls for one attachment.
type Expectation struct {
	service    *Service
	attachment Attachment
	ctx        context.Context
	cancel     context.CancelCauseFunc
	turn       sync.Mutex // one call at a time

	mu    sync.Mutex
	err   error
	done  bool
	calls sync.WaitGroup
}

// Expect admits the plugin's calls for a until Done is called. Meanwhile the interface's
// leases are not renewed; an exchange for one that is under way is ended. It fails with
// ErrInvalid when the id or the interface name is malformed, with ErrBusy while the
// same interface is expected already, with ErrClosed after Close.
func (s *Service) Expect(a Attachment) (*Expectation, error) {
	p := place{a.ID, a.Interface}
	if err := p.validate(); err != nil {
		return nil, err
	}
	if a.Wish.Address.IsValid() && !dhcp4.UsableHost(a.Wish.Address) {
		return nil, fmt.Errorf("requested address %s: %w: not an IPv4 host address", a.Wish.Address, ErrInvalid)
	}
	if a.Timeout == 0 {
		a.Timeout = DefaultTimeout
	}
	e := &Expectation{service: s, attachment: a}
	if err := s.enter(p, e); err != nil {
		return nil, err
	}
	s.suspend(p)
	return e, nil
}

func (s *Service) enter(p place, e *Expectation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.expected[p] != nil {
		return fmt.Errorf("%s %s: %w", p.id, p.ifname, ErrBusy)
	}
	e.ctx, e.cancel = context.WithCancelCause(s.ctx)
	s.expected[p] = e
	return nil
}

// Done ends the expectation: a call that is running is cancelled, and what it
// acquired is released again. When Done returns, nothing is done in the namespace any
// more; sockets in it are closed within some milliseconds.
// It may be called more than once.
func (e *Expectation) Done() {
	e.mu.Lock()
	first := !e.done
	e.done = true
	e.mu.Unlock()
	e.cancel(fmt.Errorf("%w: the attachment was given up", ErrCanceled))
	e.calls.Wait()
	if !first {
		return
	}
	p := place{e.attachment.ID, e.attachment.Interface}
	e.service.mu.Lock()
	delete(e.service.expected, p)
	e.service.mu.Unlock()
	e.service.resume(p)
}

// Err returns the error of the last call, nil when it succeeded or none came. It
// wraps the sentinel errors of this package, which do not survive the plugin.
func (e *Expectation) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// admit finds the expectation of a call and counts the call in; end counts it out.
func (s *Service) admit(id, ifname string) (*Expectation, error) {
	s.mu.Lock()
	e := s.expected[place{id, ifname}]
	s.mu.Unlock()
	if e != nil && e.begin() {
		e.turn.Lock()
		return e, nil
	}
	return nil, fmt.Errorf("%w (%.100q, %.20q): the net-porter daemon answers only for what it is doing itself", ErrUnexpected, id, ifname)
}

func (e *Expectation) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done {
		return false
	}
	e.calls.Add(1)
	return true
}

func (e *Expectation) end(err error) {
	e.mu.Lock()
	e.err = err
	e.mu.Unlock()
	e.turn.Unlock()
	e.calls.Done()
}

// during returns a context that ends with ctx or with the expectation.
func (e *Expectation) during(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.ctx, func() { cancel(context.Cause(e.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// maxIDLen keeps a lease's file name under NAME_MAX (255) with room for renameio's
// temporary suffix.
const maxIDLen = 200

func (k place) validate() error {
	idOK, _ := regexp.MatchString(`^[0-9]+\.[a-zA-Z0-9][a-zA-Z0-9_.-]*$`, k.id)
	if !idOK || len(k.id) > maxIDLen {
		return fmt.Errorf("container id %.100q: %w: want <uid>.<container id>", k.id, ErrInvalid)
	}
	nameOK, _ := regexp.MatchString(`^[a-zA-Z0-9._-]{1,15}$`, k.ifname)
	if !nameOK || k.ifname == "." || k.ifname == ".." {
		return fmt.Errorf("interface name %.20q: %w: want 1 to 15 of letters, digits, '.', '_' and '-'", k.ifname, ErrInvalid)
	}
	return nil
}
