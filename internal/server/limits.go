package server

import (
	"net"
	"sync"

	"github.com/net-porter/net-porter/internal/peer"
)

// What users may have going on at a time. A pod of a hundred containers comes one by
// one, since podman holds its network lock; these bounds are for those who mean harm.
const (
	maxConnections      = 64   // of one user
	maxConnectionsInAll = 4096 // of all users; each has two descriptors
	maxInFlight         = 16   // attaches and detaches of one user
	maxInFlightInAll    = 256  // attaches and detaches of all users; each has processes of plugins
)

// inFlight counts the requests of each user that make or remove attachments.
type inFlight struct {
	mu    sync.Mutex
	users map[uint32]int // by account
	total int            // of all but root
}

// enter takes a place for the user and returns what gives it back, or false when
// the user, or all users together, have them all. Root has no bound: it could do
// anything without us.
func (f *inFlight) enter(id peer.Identity) (leave func(), ok bool) {
	if id.IsRoot() {
		return func() {}, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users == nil {
		f.users = map[uint32]int{}
	}
	if f.users[id.Account] >= maxInFlight || f.total >= maxInFlightInAll {
		return nil, false
	}
	f.users[id.Account]++
	f.total++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.total--
		if f.users[id.Account]--; f.users[id.Account] == 0 {
			delete(f.users, id.Account)
		}
	}, true
}

// tooManyConnections is the answer to a connection beyond its user's bound. The
// request has not been read and never will be.
const tooManyConnections = "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" +
	`{"type":"urn:net-porter:problem:busy","title":"Too much at once","status":429,"detail":"you have too many connections to net-porter open: close some","code":"busy"}` + "\n"

// rejectConnection answers a connection beyond its user's bound.
func (s *Server) rejectConnection(id peer.Identity, c net.Conn) {
	s.metrics.ConnectionRefused()
	s.log.Debug("connection refused: the user has too many", "uid", id.UID, "pid", id.PID)
	_, _ = c.Write([]byte(tooManyConnections))
}
