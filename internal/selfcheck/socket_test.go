package selfcheck

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// impostorEnv makes the test binary be one that listens in the daemon's place.
const impostorEnv = "NET_PORTER_TEST_IMPOSTOR"

func init() {
	path := os.Getenv(impostorEnv)
	if path == "" {
		return
	}
	l, err := net.Listen("unix", path)
	if err == nil {
		_, _ = os.Stdout.WriteString("listening\n")
		err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"status":"ok"}`) }))
	}
	panic(err)
}

// serve answers on path with a status, until the test ends.
func serve(t *testing.T, path string, status int) *net.UnixListener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			w.WriteHeader(status)
		}
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.(*net.UnixListener)
}

func TestSocket(t *testing.T) {
	dir := testlab.PublicDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	serve(t, at("well"), http.StatusOK)
	serve(t, at("failing"), http.StatusServiceUnavailable)
	serve(t, at("strange"), http.StatusNotFound)
	silent, err := net.Listen("unix", at("silent"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := os.Symlink(at("well"), at("link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, at("closed"), http.StatusOK).Close()
	long := at(strings.Repeat("d", 120))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at("well"), long+"/well"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(long+"/well", at("well")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path string
		passed     bool
		says       string // "" if it passes
	}{
		{"a daemon that is well", at("well"), false, ""},
		{"one that says it is not", at("failing"), false, ""},
		{"by a link", at("link"), false, ""},
		{"a path longer than an address", long + "/well", false, ""},
		{"something else's answer", at("strange"), false, "404"},
		{"nobody accepts", at("silent"), false, "deadline"},
		{"nobody listens", at("closed"), false, "no such file"},
		{"a file", at("file"), false, "refused"},
		{"the file is gone", at("gone"), false, "no such file"},
		{"the file is gone, of systemd's", at("gone"), true, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bound := time.Minute
			if tt.name == "nobody accepts" {
				bound = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			err := Socket(tt.path, tt.passed)(ctx)
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

// An answer of another process, which has put its socket in the daemon's place, is none.
func TestSocketOfAnother(t *testing.T) {
	path := filepath.Join(testlab.PublicDir(t), "s")
	impostor := exec.Command("/proc/self/exe")
	impostor.Env = append(os.Environ(), impostorEnv+"="+path)
	stdout, err := impostor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := impostor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = impostor.Process.Kill(); _ = impostor.Wait() }()
	if _, err := io.ReadFull(stdout, make([]byte, len("listening\n"))); err != nil {
		t.Fatal(err)
	}
	if err := Socket(path, false)(t.Context()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%v", err)
	}
}

// A crowd that fills the backlog is waited for, not taken for a dead daemon.
func TestSocketInACrowd(t *testing.T) {
	path := filepath.Join(testlab.PublicDir(t), "s")
	l := serve(t, path, http.StatusOK)
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// With no room for any that waits, some of those who come at once are turned away.
	if err := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
	outcomes := make(chan error)
	for range 64 {
		go func() { outcomes <- Socket(path, false)(t.Context()) }()
	}
	for range 64 {
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
}

// The unit leaves out CAP_DAC_OVERRIDE: a socket of another user's is still looked at.
func TestSocketOfAnotherUser(t *testing.T) {
	testlab.RequireRoot(t)
	path := filepath.Join(testlab.PublicDir(t), "s")
	serve(t, path, http.StatusOK)
	if err := errors.Join(os.Chown(path, 4242, 4242), os.Chmod(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	testlab.WithoutCapabilities(t, func() {
		if _, err = net.Dial("unix", path); !errors.Is(err, unix.EACCES) {
			t.Errorf("without its owner's rights: %v: this test shows nothing", err)
		}
		var c net.Conn
		if c, err = connect(t.Context(), fd); err == nil {
			c.Close()
		}
	}, unix.CAP_DAC_OVERRIDE)
	if err != nil {
		t.Error(err)
	}
}
