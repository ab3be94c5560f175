package server

import (
	"net/http"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/openapi"
)

// Health is how the daemon is, as far as it knows.
type Health struct {
	// Failing: the daemon cannot do its work. With faults and without Failing it can.
	Failing bool
	Faults  []Fault
}

// Fault is something that is wrong with the daemon.
type Fault struct {
	Summary string // for everybody
	Detail  string // for root, since it may tell of the host's files
}

// GetHealth answers GET /healthz: the daemon serves requests, with 503 if its check of
// itself says that it cannot do its work.
func (s *Server) GetHealth(w http.ResponseWriter, r *http.Request) {
	answer, status := api.Health{Status: api.Ok, Version: s.version}, http.StatusOK
	var health Health
	if s.health != nil {
		health = s.health()
	}
	if health.Failing {
		answer.Status, status = api.Failing, http.StatusServiceUnavailable
	}
	for _, f := range health.Faults {
		text := f.Summary
		if caller(r).IsRoot() && f.Detail != "" {
			text += ": " + f.Detail
		}
		answer.Faults = append(answer.Faults, text)
	}
	_ = writeBody(w, status, "application/json", answer)
}

// GetMetrics answers GET /metrics, to root alone: the labels name resources that are
// not everybody's to know.
func (s *Server) GetMetrics(w http.ResponseWriter, r *http.Request) {
	if !caller(r).IsRoot() {
		newProblem(api.NotPermitted, "metrics on this socket are for root: ask the administrator for metrics.listen").write(w)
		return
	}
	s.scrapes.ServeHTTP(w, r)
}

// GetDocument answers GET /openapi.yaml.
func (s *Server) GetDocument(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openapi.Document)
}
