package server

import (
	"net/http"
	"strconv"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/netns"
)

// DetachContainer answers POST /v1/networks/{resource}/detach. What is removed, and
// who may have it removed, is in the record: the resource need not exist any more,
// and a caller who has lost it may still give back what they have.
func (s *Server) DetachContainer(w http.ResponseWriter, r *http.Request, resource api.Resource) {
	d := s.decide(opDetach, caller(r), resource)
	defer func() { d.done() }()
	d.end(w, r, s.detach(w, r, d))
}

func (s *Server) detach(w http.ResponseWriter, r *http.Request, d *decision) error {
	leave, err := s.admit(d.id)
	if err != nil {
		return err
	}
	defer leave()
	var body api.DetachRequest
	if err := s.decodeBody(w, r, &body); err != nil {
		return err
	}
	d.begin()
	if err := checkDetach(body); err != nil {
		return err
	}
	d.container, d.ifname = body.ContainerID, body.InterfaceName
	record, err := s.recorded(d, body)
	if err != nil {
		return err
	}
	if record == nil {
		d.nothing = true
		return nil
	}
	d.known, d.containerName = true, record.Container
	d.made(s.attachments.View(record))
	var namespace *netns.Namespace
	if body.Netns != "" {
		opened, err := s.open(r.Context(), d.id, body.Netns)
		switch {
		case err == nil:
			defer opened.Close()
			namespace = opened
		case isUnusable(err):
			s.log.Debug("detach goes on without the namespace", "attachment", record.Key.String(), "error", err)
		default:
			return err
		}
	}
	return s.attachments.Detach(r.Context(), record.Key, namespace)
}

// isUnusable says whether it is certain that a path leads to no namespace that the
// caller could show: it is gone, or not theirs. That is no reason to keep the rest of
// an attachment. What may work the next time is.
func isUnusable(err error) bool {
	return isRefusedNamespace(err) || isAny(err, netns.ErrInvalidPath, netns.ErrCallerGone, netns.ErrCallerHidden)
}

// recorded finds the attachment that a caller means: their own, and for root also
// another user's. Where several users have a container of that id root has to say
// whose. It is nil where there is none.
func (s *Server) recorded(d *decision, body api.DetachRequest) (*attachment.Record, error) {
	own := attachment.Key{UID: d.id.UID, ContainerID: body.ContainerID, Interface: body.InterfaceName}
	if record, ok := s.attachments.Get(own); ok && record.Resource == d.resource {
		return record, nil
	}
	if !d.id.IsRoot() {
		return nil, nil
	}
	var found *attachment.Record
	ambiguous := false
	for _, record := range s.attachments.List() {
		if record.Interface != body.InterfaceName || record.Resource != d.resource {
			continue
		}
		if record.CNIContainerID() == body.ContainerID {
			return record, nil
		}
		if record.ContainerID == body.ContainerID {
			if found != nil {
				ambiguous = true
			}
			found = record
		}
	}
	if ambiguous {
		return nil, invalid("container_id", "several users have a container of this id: write <uid>.<container id>, such as %s", found.CNIContainerID())
	}
	return found, nil
}

func uidText(uid uint32) string { return strconv.FormatUint(uint64(uid), 10) }
