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
	maxInAll   int
	onReject   func(Identity, net.Conn)
	onRefused  func()

	mu        sync.Mutex
	total     int            // open connections of all but root
	open      map[uint32]int // open connections by account
	rejecting map[uint32]int // refused ones that are being told, by account
}

// Option changes a Listener.
type Option func(*Listener)

// MaxPerUser lets an account other than root's have at most n open connections at a
// time. 0, the default, is no limit.
func MaxPerUser(n int) Option {
	return func(l *Listener) { l.maxPerUser = n }
}

// MaxInAll lets all accounts but root's together have at most n open connections at
// a time, so that descriptors are left for the work. 0, the default, is no limit.
func MaxInAll(n int) Option {
	return func(l *Listener) { l.maxInAll = n }
}

// OnReject is called with a connection that MaxPerUser or MaxInAll refuses, before it is
// closed, so that the peer can be told. It is called once the peer has sent
// something: HTTP clients take an answer that comes before their question for a
// fault. It runs on a goroutine of its own, nobody waits for it, and reads and
// writes fail a second after the connection was accepted. A user who has many
// connections refused at a time is not told on each.
func OnReject(f func(Identity, net.Conn)) Option {
	return func(l *Listener) { l.onReject = f }
}

// OnRefused is called for every connection that MaxPerUser or MaxInAll refuses, told or
// not, by Accept: it must not wait.
func OnRefused(f func()) Option {
	return func(l *Listener) { l.onRefused = f }
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
// closed and passed over: it must not end the service for the others. So is one whose
// peer has exited: nobody waits for the answer, and whoever holds the other end now
// could not be held to account. Errors are those of the listening socket.
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
		if id.PID != 0 && id.Alive() != nil {
			c.Close()
			id.Close()
			continue
		}
		if !l.enter(id) {
			if l.onRefused != nil {
				l.onRefused()
			}
			if l.onReject != nil && l.startRejecting(id) {
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
	defer l.endRejecting(id)
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

// SetMaxPerUser changes what MaxPerUser has said. Open connections stay open.
func (l *Listener) SetMaxPerUser(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maxPerUser = n
}

// enter counts a connection in, unless there are as many as allowed.
func (l *Listener) enter(id Identity) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id.IsRoot() {
		return true
	}
	if l.maxPerUser > 0 && l.open[id.Account] >= l.maxPerUser || l.maxInAll > 0 && l.total >= l.maxInAll {
		return false
	}
	l.open[id.Account]++
	l.total++
	return true
}

func (l *Listener) leave(id Identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !id.IsRoot() {
		uncount(l.open, id.Account)
		l.total--
	}
}

func (l *Listener) startRejecting(id Identity) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rejecting[id.Account] >= maxRejecting {
		return false
	}
	l.rejecting[id.Account]++
	return true
}

func (l *Listener) endRejecting(id Identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	uncount(l.rejecting, id.Account)
}

func uncount(by map[uint32]int, account uint32) {
	by[account]--
	if by[account] == 0 {
		delete(by, account) // or the map would grow with every user ever seen
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
		c.listener.leave(c.id)
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
