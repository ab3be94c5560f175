package server

import (
	"context"
	"net"
	"time"

	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/policy"
)

// revokeAtOnce bounds the removals of a user's attachments that were revoked together;
// those of everybody have Options.Turns.
const revokeAtOnce = 2

// revocable is an attachment, whatever becomes of its record.
type revocable struct {
	key     attachment.Key
	created time.Time
}

// Revoke detaches what its user may not have any more, by the configuration that is in
// force and the groups that the user was in when it was made, where the resource says so
// (on_revoke); that of a resource which is gone, if it said so then. All other
// attachments stay, and so do those of a resource with a name that nobody could resolve:
// a directory that is down while the daemon starts must not take running containers'
// interfaces for good, and their users may be whom the name stands for. It is to be called
// after each Configure, and when the daemon begins to serve; a removal that fails is tried
// again as any other.
//
// It returns once all that it has begun is done, which the users whose attachments these
// are can draw out. Nobody else has to wait for that, and the next Revoke may come first.
func (s *Server) Revoke(ctx context.Context) {
	offered := s.catalog.Load()
	var begun []<-chan struct{}
	kept, doubtful := map[string]int{}, map[string]int{}
	for _, r := range s.attachments.List() {
		switch {
		case r.State != attachment.Attached || offered.revoked(r) == policy.ReasonNone:
		case !offered.detaches(r):
			kept[r.Resource]++
		case len(offered.unresolved(r.Resource)) > 0:
			doubtful[r.Resource]++
		default:
			if done := s.revocations.Begin(r.UID, revocable{r.Key, r.Created}, func() { s.revoke(ctx, r) }); done != nil {
				begun = append(begun, done)
			}
		}
	}
	for resource, n := range kept {
		s.log.Info("attachments stay that their users could not make any more; on_revoke of the resource says so", "resource", resource, "attachments", n)
	}
	for resource, n := range doubtful {
		s.log.Warn("attachments stay that their users could not make any more, as names of the resource do not exist or cannot be looked up and may be these users' or their groups'; "+
			"they are detached once each name is found or is no longer in the configuration, and that is read again (systemctl reload net-porter)",
			"resource", resource, "attachments", n, "names", offered.unresolved(resource), "configuration", offered.number)
	}
	for _, done := range begun {
		<-done
	}
}

// revoke detaches an attachment, unless it has waited so long that it is gone, or its
// user's again by a newer configuration.
func (s *Server) revoke(ctx context.Context, r *attachment.Record) {
	done, ok := s.work.begin()
	if !ok {
		return // the next daemon does it
	}
	defer done()
	if now, ok := s.attachments.Get(r.Key); !ok || !now.Created.Equal(r.Created) || now.State != attachment.Attached {
		return
	}
	offered := s.catalog.Load()
	reason := offered.revoked(r)
	if reason == policy.ReasonNone || !offered.detaches(r) || len(offered.unresolved(r.Resource)) > 0 {
		return
	}
	log := s.log.With("uid", r.UID, "user", r.User, "resource", r.Resource, "container", r.ContainerID,
		"container_name", r.Container, "interface", r.Interface, "netns", r.Namespace.String(), "denial", string(reason), "configuration", offered.number)
	if err := s.attachments.Revoke(ctx, r); err != nil {
		log.Error("cannot detach what was revoked; it is tried again", audit.ReleaseFailed.Attr(), "error", err)
		return
	}
	log.Warn("detached an attachment that was revoked while its container runs", audit.Revoke.Attr())
}

// revoked says why an attachment could not be made any more, by its user as they were then.
func (c *catalog) revoked(r *attachment.Record) policy.Reason {
	return policy.Attach(policy.Subject{UID: r.UID, GIDs: r.GIDs}, c.resources[r.Resource], requestOf(r)).Reason
}

// requestOf is what was granted to an attachment.
func requestOf(r *attachment.Record) policy.Request {
	q := policy.Request{StaticIPs: r.Static}
	if r.StaticMAC != "" {
		q.StaticMAC, _ = net.ParseMAC(r.StaticMAC)
	}
	return q
}

// unresolved are a resource's names that stand for nobody; none where it is gone.
func (c *catalog) unresolved(resource string) []string {
	if r := c.resources[resource]; r != nil {
		return r.Unresolved
	}
	return nil
}

func (c *catalog) detaches(r *attachment.Record) bool {
	if _, there := c.resources[r.Resource]; there {
		return c.settings[r.Resource].DetachOnRevoke
	}
	return r.DetachOnRevoke
}

// stillPermitted takes an attachment away again whose user has lost it while it was in the
// making, where that detaches: Revoke does not see what is not attached yet.
func (s *Server) stillPermitted(ctx context.Context, d *decision, record *attachment.Record) error {
	offered := s.catalog.Load()
	if offered.number == d.configuration {
		return nil
	}
	reason := offered.revoked(record)
	if reason == policy.ReasonNone || !offered.detaches(record) {
		return nil
	}
	d.configuration = offered.number
	d.denied(string(reason))
	if err := s.attachments.Revoke(ctx, record); err != nil {
		s.log.Error("cannot take back an attachment that was revoked while it was made; it is tried again", audit.ReleaseFailed.Attr(), "uid", record.UID, "resource", record.Resource,
			"container", record.ContainerID, "container_name", record.Container, "interface", record.Interface, "error", err)
	}
	rules, _, err := offered.permitted(d.resource, d.id)
	if err != nil {
		return err
	}
	return addressDenied(d.resource, policy.Attach(subject(d.id), rules, requestOf(record)))
}
