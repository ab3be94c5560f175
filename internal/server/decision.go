package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/peer"
)

// decision is what is logged and counted of one attach or detach: one line each.
type decision struct {
	server    *Server
	operation string
	id        peer.Identity
	resource  string
	start     time.Time

	container, containerName string
	known                    bool // the resource is a configured or recorded one, fit to be a label
	nothing                  bool // a detach of what is not there
	denial                   string
}

func (s *Server) decide(operation string, id peer.Identity, resource string) *decision {
	return &decision{server: s, operation: operation, id: id, resource: resource, start: time.Now()}
}

// denied notes why policy or the namespace proof said no.
func (d *decision) denied(reason string) { d.denial = reason }

// end logs and counts the outcome.
func (d *decision) end(ctx context.Context, err error) {
	s, took := d.server, time.Since(d.start)
	outcome := "ok"
	level := slog.LevelInfo
	var p *problem
	if err != nil {
		p = problemOf(err)
		outcome, level = string(p.code), slog.LevelWarn
		if p.code == api.Internal {
			level = slog.LevelError
		}
	}
	if d.nothing {
		level = slog.LevelDebug // podman tears down what it never had, too
	}
	if d.denial != "" {
		s.metrics.Denial(d.denial)
	}
	if d.known {
		observe := s.metrics.Attach
		if d.operation == "detach" {
			observe = s.metrics.Detach
		}
		observe(d.resource, outcome, took)
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.Uint64("uid", uint64(d.id.UID)), slog.String("user", s.userName(context.WithoutCancel(ctx), d.id.UID)),
		slog.Int("pid", d.id.PID), slog.String("resource", shorten(d.resource)),
		slog.String("container", shorten(d.container)), slog.String("container_name", shorten(d.containerName)),
		slog.String("outcome", outcome), slog.Duration("duration", took.Round(time.Microsecond)),
	}
	if p != nil {
		attrs = append(attrs, slog.String("error", p.Error()))
	}
	s.log.LogAttrs(ctx, level, d.operation, attrs...)
}

// shorten keeps what a caller wrote from filling the log; slog's handlers quote it.
func shorten(text string) string {
	const most = 128
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
