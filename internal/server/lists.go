package server

import (
	"net/http"

	"github.com/net-porter/net-porter/internal/api"
)

// ListNetworks answers GET /v1/networks with what this caller may use.
func (s *Server) ListNetworks(w http.ResponseWriter, r *http.Request) {
	_ = writeJSON(w, api.NetworkList{Networks: s.catalog.Load().forCaller(caller(r))})
}

// GetNetwork answers GET /v1/networks/{resource}.
func (s *Server) GetNetwork(w http.ResponseWriter, r *http.Request, resource api.Resource) {
	offered := s.catalog.Load()
	if _, _, err := offered.permitted(resource, caller(r)); err != nil {
		problemOf(err).write(w)
		return
	}
	_ = writeJSON(w, offered.describe(resource))
}
