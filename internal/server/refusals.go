package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/net-porter/net-porter/internal/audit"
)

// What one user's requests that cost nothing may take of the log. A user who means no
// harm stays far below it; one in a loop would push everybody else's records out.
const (
	refusalBurst   = 10 // records
	refusalsPerSec = 1
	// unloggedEvery is how often the number is told of those for which there was no record.
	unloggedEvery = time.Minute
)

// refusals bounds the records of requests without success, and of checks, by account. None
// goes unmentioned: how many there were is in the account's next record, or is told by
// itself. Other successes are not its business: each costs its caller an attachment.
type refusals struct{ *buckets }

func newRefusals(now func() time.Time) refusals {
	return refusals{newBuckets(now, refusalsPerSec, refusalBurst)}
}

// allow says whether there may be a record, and for how many of the account's there was
// none since the last one.
func (r refusals) allow(account uint32) (unlogged uint64, ok bool) {
	unlogged, wait := r.take(account)
	return unlogged, wait == 0
}

// tellUnlogged tells of what has no record of its own, each minute until ctx ends.
func (s *Server) tellUnlogged(ctx context.Context) {
	every := time.NewTicker(unloggedEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			s.logUnlogged(ctx)
		case <-ctx.Done():
			s.logUnlogged(context.WithoutCancel(ctx))
			return
		}
	}
}

func (s *Server) logUnlogged(ctx context.Context) {
	for _, of := range []struct {
		refusals
		event audit.Event
		level slog.Level // that of the records there are
		what  string
	}{
		{s.denials, audit.Denied, slog.LevelWarn, "refused"},
		{s.failures, audit.Failed, slog.LevelWarn, "refused"},
		{s.checks, audit.Check, slog.LevelInfo, "told how attachments are"},
	} {
		byAccount, forgotten := of.takeDenied()
		for account, n := range byAccount {
			var r record
			r.add(audit.NotLogged.Attr(), slog.Uint64("uid", uint64(account)))
			r.text("user", s.userName(ctx, account), maxName)
			r.add(slog.String("of", of.event.String()), slog.Uint64("not_logged_before", n))
			s.log.LogAttrs(ctx, of.level, "a user was "+of.what+" more often than is logged one by one", r...)
		}
		if forgotten > 0 {
			s.log.LogAttrs(ctx, of.level, "users were "+of.what+" more often than is logged one by one", audit.NotLogged.Attr(),
				slog.String("of", of.event.String()), slog.Uint64("not_logged_before", forgotten))
		}
	}
}
