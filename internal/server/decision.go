package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/peer"
)

// abandoned is the outcome of an attach whose caller hung up: nobody gets its problem.
const abandoned = "abandoned"

// decision is what is logged and counted of one attach or detach: one line each.
type decision struct {
	server    *Server
	operation string
	id        peer.Identity
	resource  string
	start     time.Time
	done      func() // what begin has begun

	container, containerName string
	ifname, addresses, mac   string
	known                    bool // the resource is a configured or recorded one, fit to be a label
	nothing                  bool // a detach of what is not there
	denial                   string
}

func (s *Server) decide(operation string, id peer.Identity, resource string) *decision {
	return &decision{server: s, operation: operation, id: id, resource: resource, start: time.Now(), done: func() {}}
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
}

// denied notes why policy or the namespace proof said no.
func (d *decision) denied(reason string) { d.denial = reason }

// end counts the outcome, answers where success has not been answered yet, and logs.
// The caller does not wait for the log, which names users and may take seconds to
// learn their names.
func (d *decision) end(w http.ResponseWriter, r *http.Request, err error) {
	took, outcome := time.Since(d.start), "ok"
	var p *problem
	if err != nil {
		p = problemOf(err)
		outcome = string(p.code)
		if errors.Is(err, attachment.ErrAbandoned) {
			outcome = abandoned
		}
	}
	d.count(outcome, took)
	if p != nil {
		p.write(w)
	} else if d.operation == "detach" {
		w.WriteHeader(http.StatusNoContent)
	}
	_ = http.NewResponseController(w).Flush()
	d.log(context.WithoutCancel(r.Context()), outcome, p, took)
}

func (d *decision) count(outcome string, took time.Duration) {
	m := d.server.metrics
	if d.denial != "" {
		m.Denial(d.denial)
	}
	switch {
	case !d.known:
	case d.operation == "detach":
		m.Detach(d.resource, outcome, took)
	default:
		m.Attach(d.resource, outcome, took)
	}
}

func (d *decision) log(ctx context.Context, outcome string, p *problem, took time.Duration) {
	s, level := d.server, slog.LevelInfo
	switch {
	case p != nil && p.code == api.Internal && outcome != abandoned:
		level = slog.LevelError
	case p != nil:
		level = slog.LevelWarn
	case d.nothing:
		level = slog.LevelDebug // podman tears down what it never had, too
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	var suppressed uint64
	if p != nil {
		var ok bool
		if suppressed, ok = s.refusals.allow(d.id.Account); !ok {
			return
		}
	}
	attrs := []slog.Attr{
		slog.Uint64("uid", uint64(d.id.UID)), slog.String("user", s.userName(ctx, d.id.UID)),
		slog.Int("pid", d.id.PID), slog.String("resource", clip(d.resource, 128)),
		slog.String("container", clip(d.container, 128)), slog.String("container_name", clip(d.containerName, 128)),
		slog.String("interface", clip(d.ifname, 32)), slog.String("addresses", d.addresses), slog.String("mac", d.mac),
		slog.String("outcome", outcome), slog.Duration("duration", took.Round(time.Microsecond)),
	}
	if p != nil {
		attrs = append(attrs, slog.String("error", clip(p.Error(), 1<<10)))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Uint64("not_logged_before", suppressed))
	}
	s.log.LogAttrs(ctx, level, d.operation, attrs...)
}
