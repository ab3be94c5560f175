package server

import (
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/peer"
)

// browserHeaders names headers that a browser adds and netavark, curl or Prometheus
// do not. A page that talks a browser, or a proxy that forwards to the socket, into
// calling the daemon would act with the rights of whoever runs it.
var browserHeaders = []string{"Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode"}

// refuseBrowsers refuses requests that carry a browser's marks or another host than
// localhost, which is what DNS rebinding looks like.
func (s *Server) refuseBrowsers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if mark := fromBrowser(r); mark != "" {
			s.turnAway(w, r, "browser", mark)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fromBrowser says what marks the request as a browser's, or is empty if nothing does.
func fromBrowser(r *http.Request) string {
	for _, name := range browserHeaders {
		if _, there := r.Header[name]; there {
			return "requests that a browser makes are refused: the header " + name + " must not be there"
		}
	}
	if !localHost(r.Host) {
		return "the request's host must be localhost: write http://localhost/... after --unix-socket"
	}
	return ""
}

func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return host == "" || strings.EqualFold(host, "localhost")
}

// requireIdentity lets nobody in whom the kernel has not named. Nor does it let in
// the subordinate uids of a user: what is allowed is allowed to people, and a user with
// 65,536 of them would have every bound as many times. podman calls as the user.
func (s *Server) requireIdentity(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := peer.FromContext(r.Context())
		if !ok {
			newProblem(api.NotPermitted, "the kernel does not say who you are: call through the daemon's unix socket").write(w)
			return
		}
		if id.Account != id.UID {
			s.turnAway(w, r, "subordinate-uid", fmt.Sprintf("you call as uid %d, in a user namespace of uid %d: call as uid %[2]d, which is root inside of it", id.UID, id.Account))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// turnAway refuses a request whatever it asks for, for the record.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, reason, detail string) {
	d := s.decide(opRequest, caller(r), "")
	d.denied(reason)
	d.end(w, r, newProblem(api.NotPermitted, detail))
}

// recoverPanics turns a panic into an answer and a log line: one bad request must
// not take the daemon from everybody else.
func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler: // net/http's own way to drop a connection
				panic(v)
			default:
				s.log.Error("a request handler panicked; please report it", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
				problemOf(fmt.Errorf("panic: %v", v)).write(w)
			}
		}()
		next.ServeHTTP(w, r)
	})
}
