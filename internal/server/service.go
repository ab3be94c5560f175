package server

import (
	"net/http"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/openapi"
)

// GetHealth answers GET /healthz: the daemon serves requests.
func (s *Server) GetHealth(w http.ResponseWriter, _ *http.Request) {
	_ = writeJSON(w, api.Health{Status: api.Ok, Version: s.version})
}

// GetMetrics answers GET /metrics, to root alone: the labels name resources that are
// not everybody's to know.
func (s *Server) GetMetrics(w http.ResponseWriter, r *http.Request) {
	if !caller(r).IsRoot() {
		newProblem(api.NotPermitted, "metrics on this socket are for root: ask the administrator for metrics.listen").write(w)
		return
	}
	s.metrics.Handler().ServeHTTP(w, r)
}

// GetDocument answers GET /openapi.yaml.
func (s *Server) GetDocument(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openapi.Document)
}
