package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/peer"
)

// The operations that something is decided on.
const (
	opAttach  = "attach"
	opDetach  = "detach"
	opCheck   = "check"
	opCollect = "gc"
	opRequest = "request" // whatever it was, its caller may ask nothing at all
)

// abandoned is the outcome of an attach whose caller hung up: nobody gets its problem.
const abandoned = "abandoned"

// decision is what is logged and counted of one request that something was decided on.
type decision struct {
	server    *Server
	operation string
	id        peer.Identity
	resource  string
	start     time.Time
	done      func() // what begin has begun

	cgroup                   peer.Cgroup // of the caller
	container, containerName string
	ifname, addresses, mac   string
	netns                    string
	askedIPs, askedMAC       string // of the caller's choice
	owner                    uint32 // whose it is
	known                    bool   // the resource is a configured or recorded one, fit to be a label
	nothing                  bool   // a detach of what is not there
	denial                   string
	rules                    []string    // by which it was allowed, as the administrator wrote them
	configuration            uint64      // by which it was decided, 0 if by none
	more                     []slog.Attr // of the operation alone
}

func (s *Server) decide(operation string, id peer.Identity, resource string) *decision {
	return &decision{server: s, operation: operation, id: id, resource: resource, owner: id.UID, start: time.Now(), done: func() {}}
}

// begin makes the request one that a stop waits for, until d.done. One that comes
// when the daemon stops is hung up on: nothing has been done, and its caller finds
// the next daemon.
func (d *decision) begin() {
	done, ok := d.server.work.begin()
	if !ok {
		panic(http.ErrAbortHandler)
	}
	d.done = done
	d.look()
}

// look notes where the caller is while it still is there to be looked at: one who has its
// answer is about to exit.
func (d *decision) look() {
	if d.cgroup == "" {
		d.cgroup = d.id.Cgroup()
	}
}

// made notes what an attachment has, or had.
func (d *decision) made(v attachment.View) {
	result := resultOf(v)
	var addresses []string
	for _, ip := range result.Ips {
		addresses = append(addresses, ip.Address)
	}
	d.addresses = strings.Join(addresses, ",")
	for _, i := range result.Interfaces {
		if i.Name == v.Interface {
			d.mac = i.Mac
		}
	}
	d.netns, d.owner = v.Namespace.String(), v.UID
}

// denied notes why policy, the namespace proof or the edge of the API said no.
func (d *decision) denied(reason string) { d.denial = reason }

// end counts the outcome, answers where success has not been answered yet, and logs.
// The caller does not wait for the log, which names users and may take seconds to
// learn their names.
func (d *decision) end(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, fair.ErrClosed) {
		panic(http.ErrAbortHandler) // as at begin
	}
	took, outcome := time.Since(d.start), "ok"
	var p *problem
	if err != nil {
		p = problemOf(err)
		outcome = string(p.code)
		if errors.Is(err, attachment.ErrAbandoned) {
			outcome = abandoned
		}
	}
	d.count(outcome, took, err)
	kind := d.kind(p, outcome)
	unlogged, logged := kind.admit(d)
	if logged {
		d.look()
	}
	if p != nil {
		p.write(w)
	} else if d.operation == opDetach {
		w.WriteHeader(http.StatusNoContent)
	}
	_ = http.NewResponseController(w).Flush()
	if logged {
		d.log(context.WithoutCancel(r.Context()), kind, outcome, p, took, unlogged)
	}
}

func (d *decision) count(outcome string, took time.Duration, err error) {
	m := d.server.metrics
	if d.denial != "" {
		m.Denial(d.denial)
	}
	if errors.Is(err, fair.ErrBusy) {
		m.Refused("turn")
	}
	switch {
	case !d.known:
	case d.operation == opDetach:
		m.Detach(d.resource, outcome, took)
	case d.operation == opAttach:
		m.Attach(d.resource, outcome, took)
	}
}
