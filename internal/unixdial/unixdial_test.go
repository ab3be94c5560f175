package unixdial

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// full is a socket for which as many wait as may.
func full(t *testing.T) (path string, l *net.UnixListener) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var listenErr error
	if err := errors.Join(raw.Control(func(fd uintptr) { listenErr = unix.Listen(int(fd), 0) }), listenErr); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.Dial("unix", path)
		if errors.Is(err, unix.EAGAIN) {
			return path, l
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

// Whoever comes when the backlog is full gets its turn, and can be talked with.
func TestDialWaitsForItsTurn(t *testing.T) {
	path, l := full(t)
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result)
	go func() {
		c, err := Dial(t.Context(), path)
		dialled <- result{c, err}
	}()
	select {
	case r := <-dialled:
		t.Fatalf("there was room: %v: this test shows nothing", r.err)
	case <-time.After(50 * time.Millisecond):
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	}()
	r := <-dialled
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.conn.Close()
	if got, err := io.ReadAll(r.conn); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if r.conn.RemoteAddr().String() != path {
		t.Errorf("connected to %s", r.conn.RemoteAddr())
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	path, _ := full(t)
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	past, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, ctx := range []context.Context{soon, past} {
		if c, err := Dial(ctx, path); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%v, %v", c, err)
		}
	}
}

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for path, want := range map[string]error{
		filepath.Join(dir, "none"): unix.ENOENT,
		dead:                       unix.ECONNREFUSED,
		"@net-porter-test-of-none": unix.ECONNREFUSED,
		strings.Repeat("n", 200):   unix.EINVAL,
	} {
		_, err := Dial(t.Context(), path)
		var op *net.OpError
		if !errors.Is(err, want) || !errors.As(err, &op) || op.Addr.String() != path {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}
