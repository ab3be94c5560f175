package plugin

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func noAncestors() []int { return nil }

func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
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
		d := &dialer{path: path, ancestors: noAncestors}
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

func TestRootsOfAProcess(t *testing.T) {
	self := os.Getpid()
	found := slices.Collect(roots(self))
	if len(found) < 2 || len(found) > maxThreads || found[0] != fmt.Sprintf("/proc/%d/root", self) ||
		slices.Contains(found, fmt.Sprintf("/proc/%d/task/%d/root", self, self)) {
		t.Errorf("got %v, want the main thread first, and some others once", found)
	}
	if gone := slices.Collect(roots(1 << 30)); len(gone) != 1 {
		t.Errorf("nobody: got %v", gone)
	}
}
