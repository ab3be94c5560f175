package testlab

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Sandbox is a process of an unprivileged user that does as it is told. Methods
// fail the test when the process cannot obey; Try returns an error instead.
type Sandbox struct {
	t       testing.TB
	cmd     *exec.Cmd
	pid     int
	control *os.File

	mu  sync.Mutex // one command at a time
	in  *json.Decoder
	out *json.Encoder

	exit sync.Once
}

// Request is an HTTP request for a sandbox to make.
type Request struct {
	Method, Path string
	Header       http.Header
	Body         []byte
	// HangUp is when the connection is closed, whatever has come of the request; 0: never.
	HangUp time.Duration
}

// Response is what a sandbox got for a Request.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// PID is the process's id, as the host sees it.
func (s *Sandbox) PID() int { return s.pid }

// Exit ends the process; it is gone and reaped when Exit returns. What only it
// held, mounts and namespaces, goes with it.
func (s *Sandbox) Exit() {
	s.exit.Do(func() {
		s.control.Close()
		if err := s.cmd.Wait(); err != nil {
			s.t.Errorf("the process %d: %v", s.pid, err)
		}
	})
}

// Kill ends the process, and what it runs, as kill -9 does. What only they held goes with
// them; nothing is to be asked of the sandbox any more.
func (s *Sandbox) Kill() {
	s.exit.Do(func() {
		_ = s.cmd.Process.Kill() // which would tell of the other's end
		_ = unix.Kill(s.pid, unix.SIGKILL)
		_ = s.cmd.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for r := (reply{}); s.in.Decode(&r) == nil; { // until the other is dead, too
		}
		s.control.Close()
	})
}

// Try runs one command, named by the table in helper.go, and returns its output
// or its error.
func (s *Sandbox) Try(op string, args ...string) (string, error) {
	r := s.call(message{Op: op, Args: args})
	if r.Err != "" {
		return r.Out, errors.New(op + ": " + r.Err)
	}
	return r.Out, nil
}

func (s *Sandbox) call(m message) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r reply
	if err := s.out.Encode(m); err != nil {
		return reply{Err: err.Error()}
	}
	if err := s.in.Decode(&r); err != nil {
		return reply{Err: err.Error()}
	}
	return r
}

func (s *Sandbox) must(op string, args ...string) string {
	s.t.Helper()
	out, err := s.Try(op, args...)
	if err != nil {
		s.t.Fatalf("the process %d cannot obey: %v: %s", s.pid, err, out)
	}
	return out
}

// Mkdir makes a directory, and the ones above it. Mode 0755.
func (s *Sandbox) Mkdir(path string) { s.t.Helper(); s.must("mkdir", path) }

// Chmod changes a file's mode, which is octal digits.
func (s *Sandbox) Chmod(path, mode string) { s.t.Helper(); s.must("chmod", path, mode) }

// WriteFile writes a file. Mode 0644.
func (s *Sandbox) WriteFile(path, content string) { s.t.Helper(); s.must("write", path, content) }

// ReadFile reads a file.
func (s *Sandbox) ReadFile(path string) string { s.t.Helper(); return s.must("read", path) }

// Symlink makes path a symbolic link to target.
func (s *Sandbox) Symlink(target, path string) { s.t.Helper(); s.must("symlink", target, path) }

// Readlink reads a symbolic link, e.g. /proc/self/ns/net.
func (s *Sandbox) Readlink(path string) string { s.t.Helper(); return s.must("readlink", path) }

// Mkfifo makes a named pipe.
func (s *Sandbox) Mkfifo(path string) { s.t.Helper(); s.must("mkfifo", path) }

// Socket makes a unix socket that nobody listens on.
func (s *Sandbox) Socket(path string) { s.t.Helper(); s.must("listen", path) }

// Remove removes a file, or a directory and what is in it.
func (s *Sandbox) Remove(path string) { s.t.Helper(); s.must("remove", path) }

// BindMount mounts src, and what is mounted under it, at dst, which it makes.
func (s *Sandbox) BindMount(src, dst string) { s.t.Helper(); s.must("bind", src, dst) }

// Tmpfs mounts an empty tmpfs on a directory.
func (s *Sandbox) Tmpfs(dir string) { s.t.Helper(); s.must("tmpfs", dir) }

// Unmount takes the topmost mount from path.
func (s *Sandbox) Unmount(path string) { s.t.Helper(); s.must("umount", path) }

// Chroot makes dir the root of the process.
func (s *Sandbox) Chroot(dir string) { s.t.Helper(); s.must("chroot", dir) }

// PersistNetns makes a network namespace and mounts it at path, as podman does.
func (s *Sandbox) PersistNetns(path string) { s.t.Helper(); s.must("netns", path) }

// PersistNestedNetns is PersistNetns in one more user namespace, as with
// podman's --userns=keep-id.
func (s *Sandbox) PersistNestedNetns(path string) { s.t.Helper(); s.must("nested", path) }

// Links are the names of the links in the network namespace at path, or in the
// process's own when path is empty.
func (s *Sandbox) Links(path string) []string {
	s.t.Helper()
	return strings.Fields(s.must("links", path))
}

// Flip makes path a symbolic link to a and to b in turn, count times.
func (s *Sandbox) Flip(path, a, b string, count int) {
	s.t.Helper()
	s.must("flip", path, a, b, strconv.Itoa(count))
}

// Dial connects to a unix socket and keeps the connection until Hangup or Exit.
func (s *Sandbox) Dial(socket string) { s.t.Helper(); s.must("dial", socket) }

// Throng connects to a unix socket as fast as it can until Hangup or Exit. When it returns,
// more have connected than the socket's backlog has room for.
func (s *Sandbox) Throng(socket string) { s.t.Helper(); s.must("throng", socket) }

// Hangup closes all connections of Dial, and ends Throng.
func (s *Sandbox) Hangup() { s.t.Helper(); s.must("hangup") }

// Exec runs a program and returns what it wrote on stdout and stderr.
func (s *Sandbox) Exec(argv ...string) string { s.t.Helper(); return s.must("exec", argv...) }

// HTTP makes a request over a unix socket, on a connection of its own.
func (s *Sandbox) HTTP(socket string, r Request) Response {
	s.t.Helper()
	response, err := s.TryHTTP(socket, r)
	if err != nil {
		s.t.Fatalf("the process %d: %s %s: %v", s.pid, r.Method, r.Path, err)
	}
	return response
}

// TryHTTP is HTTP for a server that may hang up, which is an error. It may be called from
// any goroutine.
func (s *Sandbox) TryHTTP(socket string, r Request) (Response, error) {
	out := s.call(message{Args: []string{socket}, Request: &r})
	if out.Err != "" || out.Response == nil {
		return Response{}, errors.New(out.Err)
	}
	return *out.Response, nil
}
