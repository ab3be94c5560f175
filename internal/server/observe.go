package server

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/net-porter/net-porter/internal/api"
)

// operations gives each route of the document the value of its metric's label.
var operations = map[string]string{
	"POST /v1/networks/{resource}/attach": "attach",
	"POST /v1/networks/{resource}/detach": "detach",
	"GET /v1/networks":                    "networks",
	"GET /v1/networks/{resource}":         "network",
	"GET /v1/attachments":                 "attachments",
	"GET /healthz":                        "healthz",
	"GET /metrics":                        "metrics",
	"GET /openapi.yaml":                   "openapi",
}

// codeWriter carries the code of the problem that was answered to whoever counts.
type codeWriter struct {
	http.ResponseWriter
	code api.ProblemCode
}

// Unwrap lets http.ResponseController reach the connection.
func (w *codeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// count counts every answer by operation and problem code.
func (s *Server) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &codeWriter{ResponseWriter: w, code: "ok"}
		next.ServeHTTP(answer, r)
		operation, ok := operations[r.Method+" "+chi.RouteContext(r.Context()).RoutePattern()]
		if !ok {
			operation = "other"
		}
		s.metrics.Request(operation, string(answer.code))
	})
}
