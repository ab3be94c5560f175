package dhcp

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"sync"
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
	// Namespace is used until Done returns and not a moment longer; nil when it is
	// gone, which suits a release only.
	Namespace Namespace
	// RequestedIP is asked for by option 50 (RFC 2132, section 9.1) when valid. It is
	// a wish: the server may grant another address, see [Service.Lease].
	RequestedIP netip.Addr
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

// Expect admits the plugin's calls for a until Done is called. It fails with
// ErrInvalid when the id or the interface name is malformed, with ErrBusy while the
// same interface is expected already, with ErrClosed after Close.
func (s *Service) Expect(a Attachment) (*Expectation, error) {
	k := key{a.ID, a.Interface}
	if err := k.validate(); err != nil {
		return nil, err
	}
	if a.RequestedIP.IsValid() && !usableHost(a.RequestedIP) {
		return nil, fmt.Errorf("requested address %s: %w: not an IPv4 host address", a.RequestedIP, ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.expected[k] != nil {
		return nil, fmt.Errorf("%s %s: %w", a.ID, a.Interface, ErrBusy)
	}
	e := &Expectation{service: s, attachment: a}
	e.ctx, e.cancel = context.WithCancelCause(s.ctx)
	s.expected[k] = e
	return e, nil
}

// Done ends the expectation: a call that is running is cancelled, and what it
// acquired is released again. When Done returns, the namespace is no longer used.
// It may be called more than once.
func (e *Expectation) Done() {
	k := key{e.attachment.ID, e.attachment.Interface}
	e.service.mu.Lock()
	if e.service.expected[k] == e {
		delete(e.service.expected, k)
	}
	e.service.mu.Unlock()

	e.mu.Lock()
	e.done = true
	e.mu.Unlock()
	e.cancel(fmt.Errorf("%w: the attachment was given up", ErrCanceled))
	e.calls.Wait()
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
	e := s.expected[key{id, ifname}]
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

func (k key) validate() error {
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
