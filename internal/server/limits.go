package server

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/peer"
)

// What all users together may have going on at a time. What one may is configured.
const (
	maxConnectionsInAll = 4096 // each has two descriptors
	maxInFlightInAll    = 1024 // each has a namespace's descriptor more; few have processes (fair.Queue)
)

// burstOfRate is how many seconds' worth of requests may come at once: `podman stop`
// of a pod of a hundred containers is nothing to wait for.
const burstOfRate = 4

// SetLimits puts other limits in force. Who has more than they allow keeps it, and gets
// nothing more before they have less.
func (s *Server) SetLimits(l config.Limits) {
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	s.limits.connections = l.ConnectionsPerUser
	if s.limits.peers != nil {
		s.limits.peers.SetMaxPerUser(l.ConnectionsPerUser)
	}
	s.inFlight.change(l.RequestsPerUser)
	rate := float64(l.RatePerUser)
	s.begun.change(rate, burstOfRate*rate)
	s.asked.change(rate, burstOfRate*rate)
	s.turns.SetLimits(fair.Limits{InAll: l.PluginRuns, PerUser: l.PluginRunsPerUser})
}

// connectionLimit is where connections are bounded.
type connectionLimit struct {
	mu          sync.Mutex
	connections int
	peers       *peer.Listener // once Serve runs
}

// listen lets as many connections of each user in as the limits say, now and later.
func (s *Server) listen(listener *net.UnixListener) *peer.Listener {
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	s.limits.peers = peer.NewListener(listener, peer.MaxPerUser(s.limits.connections), peer.MaxInAll(maxConnectionsInAll),
		peer.OnReject(s.rejectConnection), peer.OnRefused(func() { s.metrics.Refused("connections") }))
	return s.limits.peers
}

// inFlight counts the requests of each user that work on attachments.
type inFlight struct {
	mu    sync.Mutex
	most  int            // of one user
	users map[uint32]int // by account
	total int            // of all but root
}

func (f *inFlight) change(most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.most = most
}

// enter takes a place for the user and returns what gives it back, or the problem that
// the user, or all users together, have them all.
func (f *inFlight) enter(account uint32) (leave func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users == nil {
		f.users = map[uint32]int{}
	}
	if f.users[account] >= f.most {
		return nil, newProblem(api.Busy, fmt.Sprintf("you have %d requests to net-porter under way, and may have no more: wait for some to end", f.most))
	}
	if f.total >= maxInFlightInAll {
		return nil, newProblem(api.Busy, "net-porter has as many requests under way, of all users, as it takes: try again in a moment")
	}
	f.users[account]++
	f.total++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.total--
		if f.users[account]--; f.users[account] == 0 {
			delete(f.users, account)
		}
	}, nil
}

// admit lets a request in that works on attachments, until leave is called, or says
// that its user has too much going on. Root has no bound: it could do anything without
// us.
func (s *Server) admit(id peer.Identity) (leave func(), err error) {
	if id.IsRoot() {
		return func() {}, nil
	}
	leave, err = s.inFlight.enter(id.Account)
	if err != nil {
		s.metrics.Refused("in_flight")
		return nil, err
	}
	if err := s.pace(s.begun, id); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// pace says whether a request comes too soon after others of its user.
func (s *Server) pace(b *buckets, id peer.Identity) error {
	_, wait := b.take(id.Account)
	if wait == 0 {
		return nil
	}
	s.metrics.Refused("rate")
	p := newProblem(api.Busy, "your requests to net-porter come faster than you may make them: wait a moment between them")
	p.retryAfter = wait
	return p
}

// paceOthers paces what comes to no handler that calls admit.
func (s *Server) paceOthers(routes chi.Routes) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		paced := s.paced(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if admits(routes, r) && fromBrowser(r) == "" {
				next.ServeHTTP(w, r)
				return
			}
			paced.ServeHTTP(w, r)
		})
	}
}

// admits says whether the request's route has a handler that calls admit.
func admits(routes chi.Routes, r *http.Request) bool {
	path := r.URL.Path
	if r.URL.RawPath != "" { // which chi goes by, too
		path = r.URL.RawPath
	}
	switch operations[r.Method+" "+routes.Find(chi.NewRouteContext(), r.Method, path)] {
	case opAttach, opDetach, opCheck:
		return true
	}
	return false
}

// paced has users who only ask, or ask for what there is not, do so no faster than they
// may attach: an answer takes files and the kernel's word on links, and a refusal time.
func (s *Server) paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := caller(r); !id.IsRoot() {
			if err := s.pace(s.asked, id); err != nil {
				problemOf(err).write(w)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// retryAfter is a wait as the header of that name has it: whole seconds (RFC 9110,
// section 10.2.3), not too few, and never none.
func retryAfter(wait time.Duration) int {
	return max(1, int((wait+time.Second-1)/time.Second))
}

// tooManyConnections is the answer to a connection beyond its user's bound. The
// request has not been read and never will be.
const tooManyConnections = "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" +
	`{"type":"urn:net-porter:problem:busy","title":"Too much at once","status":429,"detail":"you have too many connections to net-porter open: close some","code":"busy"}` + "\n"

// rejectConnection answers a connection beyond its user's bound.
func (s *Server) rejectConnection(id peer.Identity, c net.Conn) {
	s.log.Debug("connection refused: the user has too many", "uid", id.UID, "pid", id.PID)
	_, _ = c.Write([]byte(tooManyConnections))
}
