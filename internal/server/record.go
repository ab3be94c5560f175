package server

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/audit"
)

// What a record holds of values that callers choose, in bytes each.
const (
	maxName   = 128
	maxIfname = 32
	maxError  = 1 << 10
	// maxCgroup cuts what a user has named before what the system has.
	maxCgroup = 512
)

// kind is what a decision is on record as.
type kind struct {
	event audit.Event // none where nothing was decided
	level slog.Level
	// bound bounds what one account may have of it on record, nil for what costs the
	// account as much as it costs the log.
	bound *refusals
}

func (d *decision) kind(p *problem, outcome string) kind {
	s := d.server
	switch {
	case d.denial != "":
		return kind{audit.Denied, slog.LevelWarn, &s.denials}
	case p != nil && p.code == api.Internal && outcome != abandoned:
		return kind{audit.Failed, slog.LevelError, &s.failures}
	case p != nil:
		return kind{audit.Failed, slog.LevelWarn, &s.failures}
	case d.nothing:
		// Podman tears down what it never had, too.
		return kind{audit.Event{}, slog.LevelDebug, &s.failures}
	}
	event := map[string]audit.Event{
		opAttach: audit.Attach, opDetach: audit.Detach, opCheck: audit.Check, opCollect: audit.Collect,
	}[d.operation]
	if d.operation == opCheck {
		return kind{event, slog.LevelInfo, &s.checks} // it takes nothing, and can be asked for for ever
	}
	return kind{event, slog.LevelInfo, nil}
}

// admit says whether there is to be a record, and how many there should have been since
// the account's last one.
func (k kind) admit(d *decision) (unlogged uint64, ok bool) {
	if !d.server.log.Enabled(context.Background(), k.level) {
		return 0, false
	}
	if k.bound == nil {
		return 0, true
	}
	return k.bound.allow(d.id.Account)
}

// log writes the record: who, from where, what, by which rule, and what came of it.
func (d *decision) log(ctx context.Context, k kind, outcome string, p *problem, took time.Duration, unlogged uint64) {
	var r record
	if k.event != (audit.Event{}) {
		r.add(k.event.Attr())
	}
	unit, userUnit := d.cgroup.Unit()
	r.add(slog.Uint64("uid", uint64(d.id.UID)))
	r.text("user", d.server.userName(ctx, d.id.UID), maxName)
	r.add(slog.Int("pid", d.id.PID))
	r.text("cgroup", string(d.cgroup), maxCgroup)
	r.text("unit", unit, maxCgroup)
	r.text("user_unit", userUnit, maxCgroup)
	r.text("operation", d.operation, maxName)
	r.text("resource", d.resource, maxName)
	r.text("container", d.container, maxName)
	r.text("container_name", d.containerName, maxName)
	r.text("interface", d.ifname, maxIfname)
	if d.owner != d.id.UID {
		r.add(slog.Uint64("owner_uid", uint64(d.owner)))
	}
	r.text("netns", d.netns, maxName)
	r.text("asked_ips", d.askedIPs, maxError)
	r.text("asked_mac", d.askedMAC, maxName)
	r.text("addresses", d.addresses, maxError)
	r.text("mac", d.mac, maxName)
	r.text("rules", strings.Join(d.rules, "; "), maxError)
	if d.configuration != 0 {
		r.add(slog.Uint64("configuration", d.configuration))
	}
	r.add(d.more...)
	r.text("outcome", outcome, maxName)
	r.text("denial", d.denial, maxName)
	r.add(slog.Duration("duration", took.Round(time.Microsecond)))
	if p != nil {
		r.text("error", p.Error(), maxError)
	}
	if unlogged > 0 {
		r.add(slog.Uint64("not_logged_before", unlogged))
	}
	d.server.log.LogAttrs(ctx, k.level, d.operation, r...)
}

// record is the attributes of a log record. What is not known is left out.
type record []slog.Attr

func (r *record) add(attrs ...slog.Attr) { *r = append(*r, attrs...) }

func (r *record) text(key, value string, most int) {
	if value != "" {
		r.add(slog.String(key, clip(value, most)))
	}
}
