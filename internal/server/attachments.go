package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/peer"
)

// ListAttachments answers GET /v1/attachments: the caller's own, and everybody's for root.
func (s *Server) ListAttachments(w http.ResponseWriter, r *http.Request) {
	id := caller(r)
	list := api.AttachmentList{Attachments: []api.Attachment{}}
	inspection := inspection{server: s, id: id}
	for _, rec := range s.attachments.List() {
		if rec.UID == id.UID || id.IsRoot() {
			view := s.attachments.View(rec)
			a := attachmentFor(id, view)
			a.Faults = inspection.faults(view)
			list.Attachments = append(list.Attachments, a)
		}
	}
	_ = writeJSON(w, list)
}

// attachmentFor is an attachment as the caller may see it: what errors tell of the host's
// files is for root.
func attachmentFor(id peer.Identity, v attachment.View) api.Attachment {
	a := attachmentOf(v)
	if a.Failure != nil && id.IsRoot() {
		a.Failure.Error = v.Failure.Error
	}
	return a
}

// CheckAttachment answers POST /v1/attachments/{id}/check.
func (s *Server) CheckAttachment(w http.ResponseWriter, r *http.Request, id api.AttachmentID) {
	d := s.decide(opCheck, caller(r), "")
	result, err := s.check(r.Context(), d, id)
	if err == nil {
		_ = writeJSON(w, result)
	}
	d.end(w, r, err)
}

func (s *Server) check(ctx context.Context, d *decision, text string) (*api.CheckResult, error) {
	id := d.id
	leave, err := s.admit(id)
	if err != nil {
		return nil, err
	}
	defer leave()
	// The same whether there is none, or it is not for the caller to know.
	none := newProblem(api.AttachmentNotFound, fmt.Sprintf(
		"there is no attachment %.192q of yours: `net-porter attachments --json` lists yours with their ids", text))
	key, ok := attachment.ParseKey(text)
	if !ok {
		return nil, none
	}
	d.look()
	d.container, d.ifname, d.owner = key.ContainerID, key.Interface, key.UID
	if key.UID != id.UID && !id.IsRoot() {
		d.denied("not-owner")
		return nil, none
	}
	if record, ok := s.attachments.Get(key); ok {
		d.resource, d.containerName = record.Resource, record.Container
		d.made(s.attachments.View(record))
	}
	condition, err := s.attachments.Check(ctx, key)
	if errors.Is(err, attachment.ErrNoAttachment) {
		return nil, none
	}
	if err != nil {
		return nil, err
	}
	d.more = append(d.more, slog.Bool("consistent", len(condition.Drift) == 0))
	if len(condition.Drift) > 0 {
		d.more = append(d.more, slog.String("drift", clip(strings.Join(condition.Drift, "; "), maxError)))
	}
	return &api.CheckResult{
		Consistent: len(condition.Drift) == 0, Drift: emptyNotNil(condition.Drift), Unchecked: emptyNotNil(condition.Unchecked),
	}, nil
}

func emptyNotNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// CollectGarbage answers POST /v1/gc.
func (s *Server) CollectGarbage(w http.ResponseWriter, r *http.Request) {
	d := s.decide(opCollect, caller(r), "")
	result, err := s.collect(w, r, d)
	if err == nil {
		_ = writeJSON(w, result)
	}
	d.end(w, r, err)
}

func (s *Server) collect(w http.ResponseWriter, r *http.Request, d *decision) (*api.GCResult, error) {
	if !d.id.IsRoot() {
		d.denied("not-root")
		return nil, newProblem(api.NotPermitted, "only root may have what is left over removed: it may be anybody's")
	}
	var body api.GCRequest
	if err := s.decodeBody(w, r, &body); err != nil {
		return nil, err
	}
	d.begin()
	defer func() { d.done() }()
	garbage, err := s.attachments.Collect(r.Context(), body.DryRun)
	if err != nil {
		return nil, err
	}
	result, removed := &api.GCResult{Items: []api.GCItem{}}, 0
	for _, g := range garbage {
		item := api.GCItem{Kind: api.GCItemKind(g.Kind), ID: g.ID, What: g.What, Removed: g.Removed}
		level, attrs := slog.LevelInfo, []any{audit.Leftover.Attr(), "kind", g.Kind, "id", g.ID, "what", g.What, "removed", g.Removed}
		if g.Err != nil {
			item.Error = g.Err.Error()
			level, attrs = slog.LevelWarn, append(attrs, "error", item.Error)
		}
		if g.Removed {
			removed++
		}
		if !body.DryRun {
			s.log.Log(r.Context(), level, "what was left over", attrs...)
		}
		result.Items = append(result.Items, item)
	}
	d.more = append(d.more, slog.Bool("dry_run", body.DryRun), slog.Int("found", len(garbage)), slog.Int("removed", removed))
	return result, nil
}

// Networks are those of today's resources, as far as they could be read.
func (s *Server) Networks() []*cni.Network {
	var networks []*cni.Network
	for _, own := range s.catalog.Load().conflists {
		if own.network != nil {
			networks = append(networks, own.network)
		}
	}
	return networks
}
