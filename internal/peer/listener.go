package peer

import (
	"net"
	"sync"
	"time"
)

const (
	// rejectDeadline bounds what is spent on a refused peer that neither asks nor reads.
	rejectDeadline = time.Second
	// maxRejecting is how many refused connections of one user are told so at a
	// time. Those above it are closed without a word.
	maxRejecting = 4
)

// Listener accepts connections of which it is known who made them. It is safe for
// concurrent use.
type Listener struct {
	inner      *net.UnixListener
	maxPerUser int
	onReject   func(Identity, net.Conn)

	mu        sync.Mutex
	open      map[uint32]int // open connections by uid
	rejecting map[uint32]int // refused ones that are being told, by uid
}

// Option changes a Listener.
type Option func(*Listener)

// MaxPerUser lets a uid other than 0 have at most n open connections at a time.
// 0, the default, is no limit.
func MaxPerUser(n int) Option {
	return func(l *Listener) { l.maxPerUser = n }
}

// OnReject is called with a connection that MaxPerUser refuses, before it is
// closed, so that the peer can be told. It is called once the peer has sent
// something: HTTP clients take an answer that comes before their question for a
// fault. It runs on a goroutine of its own, nobody waits for it, and reads and
// writes fail a second after the connection was accepted. A user who has many
// connections refused at a time is not told on each.
func OnReject(f func(Identity, net.Conn)) Option {
	return func(l *Listener) { l.onReject = f }
}

// NewListener takes over l: closing the result closes it.
func NewListener(l *net.UnixListener, opts ...Option) *Listener {
	pl := &Listener{inner: l, open: map[uint32]int{}, rejecting: map[uint32]int{}}
	for _, o := range opts {
		o(pl)
	}
	return pl
}

// Accept returns the next connection, a *Conn. One whose peer cannot be told is
// closed and passed over: it must not end the service for the others. Errors are
// those of the listening socket.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.inner.AcceptUnix()
		if err != nil {
			return nil, err
		}
		id, err := FromConn(c)
		if err != nil {
			c.Close()
			continue
		}
		if !l.enter(id) {
			if l.onReject != nil && l.count(l.rejecting, id.UID, maxRejecting) {
				go l.reject(id, c)
				continue
			}
			c.Close()
			id.Close()
			continue
		}
		return &Conn{UnixConn: c, id: id, listener: l}, nil
	}
}

func (l *Listener) reject(id Identity, c *net.UnixConn) {
	defer l.uncount(l.rejecting, id.UID)
	defer id.Close()
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(rejectDeadline)); err != nil {
		return
	}
	if _, err := c.Read(make([]byte, 4096)); err != nil {
		return // it has gone, or asks nothing
	}
	l.onReject(id, anonymous{c})
}

// Close stops accepting. Connections stay open.
func (l *Listener) Close() error { return l.inner.Close() }

// Addr is the address of the socket.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// enter counts a connection in, unless its user has as many as allowed.
func (l *Listener) enter(id Identity) bool {
	limit := l.maxPerUser
	if id.IsRoot() {
		limit = 0
	}
	return l.count(l.open, id.UID, limit)
}

// count adds one to by[uid], unless it has reached the limit; 0 is none.
func (l *Listener) count(by map[uint32]int, uid uint32, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limit > 0 && by[uid] >= limit {
		return false
	}
	by[uid]++
	return true
}

func (l *Listener) uncount(by map[uint32]int, uid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	by[uid]--
	if by[uid] == 0 {
		delete(by, uid) // or the map would grow with every user ever seen
	}
}

// Conn is a connection that knows its peer.
type Conn struct {
	*net.UnixConn
	id       Identity
	listener *Listener

	once     sync.Once
	closeErr error
}

// Identity is the peer that connected. Its Alive fails once the Conn is closed.
func (c *Conn) Identity() Identity { return c.id }

// Close closes the connection and the identity, and frees the user's place. Closing
// again does nothing.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.closeErr = c.UnixConn.Close()
		c.id.Close()
		c.listener.uncount(c.listener.open, c.id.UID)
	})
	return c.closeErr
}

// RemoteAddr is the same for every peer. A peer may bind(2) its end to a name of
// its choice, which then would stand in logs as if it said who calls.
func (c *Conn) RemoteAddr() net.Addr { return peerAddr{} }

// anonymous is a connection without the name that its peer chose.
type anonymous struct{ *net.UnixConn }

func (anonymous) RemoteAddr() net.Addr { return peerAddr{} }

type peerAddr struct{}

func (peerAddr) Network() string { return "unix" }
func (peerAddr) String() string  { return "peer" }
