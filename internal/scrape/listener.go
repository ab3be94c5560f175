package scrape

import (
	"net"
	"sync"
)

// listener has at most so many connections open at a time. Those above are accepted and
// closed at once: left to wait they would fill the backlog, and who comes then would not
// even learn that there is no place.
type listener struct {
	net.Listener
	places  chan struct{} // one for each open connection
	refused func()
}

// newListener takes over l: closing the result closes it. refused is called by Accept for
// each connection that has no place.
func newListener(l net.Listener, most int, refused func()) *listener {
	return &listener{Listener: l, places: make(chan struct{}, most), refused: refused}
}

// Accept returns the next connection that has a place, until it is closed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.places <- struct{}{}:
			return &conn{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
		default:
			hangUp(c)
			l.refused()
		}
	}
}

// hangUp resets the connection, so that the kernel keeps nothing of it either.
func hangUp(c net.Conn) {
	if c, ok := c.(interface{ SetLinger(seconds int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}

// conn gives its place back when it is closed.
type conn struct {
	net.Conn
	leave func()
}

// Close closes the connection. Once it has, its descriptor is free, and so is its place.
func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
