package server

import (
	"net/http"
	"time"

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
	"POST /v1/attachments/{id}/check":     "check",
	"POST /v1/gc":                         "gc",
	"GET /healthz":                        "healthz",
	"GET /metrics":                        "metrics",
	"GET /openapi.yaml":                   "openapi",
}

// codeWriter is the way of every answer. It carries the code of the problem that was
// answered to whoever counts, and sees to it that no caller can hold up an answer.
type codeWriter struct {
	http.ResponseWriter
	code   api.ProblemCode
	unread bool // the request has a body that was not read to its end
	begun  bool
	begin  func()
}

// Unwrap lets http.ResponseController reach the connection.
func (w *codeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader begins the answer.
func (w *codeWriter) WriteHeader(status int) {
	w.start()
	w.ResponseWriter.WriteHeader(status)
}

// Write writes of the answer's body, and begins the answer if nothing has.
func (w *codeWriter) Write(p []byte) (int, error) {
	w.start()
	return w.ResponseWriter.Write(p)
}

func (w *codeWriter) start() {
	if w.begun {
		return
	}
	w.begun = true
	if w.unread {
		// Without it net/http waits for the body before it sends the answer.
		w.Header().Set("Connection", "close")
	}
	w.begin()
}

// count counts every answer by operation and problem code, when it begins. From then
// on the caller has the body timeout to take it.
func (s *Server) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &codeWriter{ResponseWriter: w, code: "ok", unread: r.ContentLength != 0}
		boundWriting := func() { _ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.bodyTimeout)) }
		boundWriting() // for "100 Continue"; the deadline of the connection's last answer has passed
		answer.begin = func() {
			boundWriting()
			operation, ok := operations[r.Method+" "+chi.RouteContext(r.Context()).RoutePattern()]
			if !ok {
				operation = "other"
			}
			s.metrics.Request(operation, string(answer.code))
		}
		next.ServeHTTP(answer, r)
	})
}
