package server

import (
	"net/http"

	"github.com/net-porter/net-porter/internal/api"
)

// ListNetworks answers GET /v1/networks with what this caller may use.
func (s *Server) ListNetworks(w http.ResponseWriter, r *http.Request) {
	_ = writeJSON(w, api.NetworkList{Networks: s.catalog.forCaller(caller(r))})
}

// GetNetwork answers GET /v1/networks/{resource}.
func (s *Server) GetNetwork(w http.ResponseWriter, r *http.Request, resource api.Resource) {
	if _, _, err := s.catalog.permitted(resource, caller(r)); err != nil {
		problemOf(err).write(w)
		return
	}
	_ = writeJSON(w, s.catalog.describe(resource))
}

// ListAttachments answers GET /v1/attachments: the caller's own, and everybody's for root.
func (s *Server) ListAttachments(w http.ResponseWriter, r *http.Request) {
	id := caller(r)
	list := api.AttachmentList{Attachments: []api.Attachment{}}
	for _, rec := range s.attachments.List() {
		if rec.UID == id.UID || id.IsRoot() {
			list.Attachments = append(list.Attachments, attachmentOf(s.attachments.View(rec)))
		}
	}
	_ = writeJSON(w, list)
}
