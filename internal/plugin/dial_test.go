package plugin

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func noAncestors() []int { return nil }

// never fails the test if a dialer waits.
func never(t *testing.T) func(context.Context) error {
	return func(context.Context) error {
		t.Error("waited for what will not pass")
		return nil
	}
}

func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestDialWaitsForARestart(t *testing.T) {
	for _, stale := range []bool{false, true} {
		path := filepath.Join(shortDir(t), "d.sock")
		if stale { // a socket file without a listener refuses connections
			l := listen(t, path)
			l.SetUnlinkOnClose(false)
			_ = l.Close()
		}
		pauses := 0
		d := &dialer{path: path, ancestors: noAncestors, pause: func(context.Context) error {
			if pauses++; pauses == 3 {
				_ = os.Remove(path)
				listen(t, path)
			}
			return nil
		}}
		conn, err := d.dial(t.Context())
		if err != nil || pauses != 3 {
			t.Fatalf("stale %v: %v after %d pauses", stale, err, pauses)
		}
		_ = conn.Close()
	}
}

func TestDialGivesUp(t *testing.T) {
	pauses := 0
	d := &dialer{path: "/nonexistent/d.sock", ancestors: ancestors, pause: func(context.Context) error { pauses++; return nil }}
	_, err := d.dial(t.Context())
	if !errors.Is(err, unix.ENOENT) || pauses != 40 {
		t.Errorf("%v after %d pauses", err, pauses)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.pause = pause
	if _, err := d.dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Neither the folder's part nor the name's part of a long path fits a socket address.
func TestDialLongPaths(t *testing.T) {
	dir := shortDir(t)
	for _, path := range []string{
		filepath.Join(dir, strings.Repeat(strings.Repeat("d", 100)+"/", 4), "d.sock"),
		filepath.Join(dir, strings.Repeat("n", 200)),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		short := filepath.Join(dir, "short.sock")
		listen(t, short).SetUnlinkOnClose(false)
		if err := os.Rename(short, path); err != nil {
			t.Fatal(err)
		}
		d := &dialer{path: path, ancestors: noAncestors, pause: never(t)}
		conn, err := d.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
}

func TestUnreachableNamesCauseAndCure(t *testing.T) {
	const path = "/run/net-porter.sock"
	denied := func(mode, gid uint32) error {
		return &unreachableError{path: path, err: unix.EACCES, socket: &unix.Stat_t{Mode: unix.S_IFSOCK | mode, Gid: gid}}
	}
	tests := []struct {
		name string
		err  error
		want []string
	}{
		{"absent", &unreachableError{path: path, err: unix.ENOENT}, []string{"there is no socket " + path, "is net-porter running?", "systemctl status net-porter"}},
		{"refused", &unreachableError{path: path, err: unix.ECONNREFUSED}, []string{"nobody listens on " + path, "sudo systemctl start net-porter"}},
		{"full", &unreachableError{path: path, err: unix.EAGAIN}, []string{"try again in a moment"}},
		{"too long", &unreachableError{path: path, err: unix.ENAMETOOLONG}, []string{"file name too long"}},
		{"directory", &unreachableError{path: path, err: unix.EACCES}, []string{"a directory on the way to the daemon's socket"}},
		{"group unseen", denied(0o660, overflowGID), []string{"stat -c %G " + path, "sudo usermod -aG net-porter $USER", "from the next login on", "loginctl terminate-user $USER"}},
		{"group without name", denied(0o660, 4242424), []string{"you are not in the group 4242424", "sudo usermod -aG 4242424 $USER", "from the next login on"}},
		{"root's group", denied(0o660, 0), []string{"open to no group of users", "domain_socket.group"}},
		{"owner only", denied(0o600, 4242424), []string{"open to no group of users", "domain_socket.mode"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, want := range tt.want {
				if !strings.Contains(tt.err.Error(), want) {
					t.Errorf("%q lacks %q", tt.err, want)
				}
			}
		})
	}
}

func TestAncestorsEndAtInit(t *testing.T) {
	pids := ancestors()
	if len(pids) == 0 || pids[0] != os.Getppid() {
		t.Fatalf("got %v", pids)
	}
	if parent(1) != 0 || parent(1<<30) != 0 {
		t.Error("init or nobody has a parent")
	}
}
