package peer

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

var (
	alice   = testlab.User{UID: 1000, GID: 1000, Groups: []uint32{27, 4242}}
	mallory = testlab.User{UID: 1001, GID: 1001}
)

// listen makes a socket that every user may connect to.
func listen(t *testing.T, opts ...Option) (*Listener, string) {
	t.Helper()
	path := filepath.Join(testlab.PublicDir(t), "peer.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	pl := NewListener(l, opts...)
	t.Cleanup(func() { pl.Close() })
	return pl, path
}

func accept(t *testing.T, l *Listener) *Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}
