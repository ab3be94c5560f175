package dhcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits in sockaddr_un.sun_path with its final NUL (unix(7)).
const maxSocketPath = 107

// socketMode keeps the socket root's alone: whoever can call is as good as root.
const socketMode = 0o600

// Listen makes the socket, with mode 0600 from its first moment. A socket that is
// there already is replaced: SocketPath's directory belongs to one daemon, so it is
// a dead one's. Anything else in its place is an error, as is too long a path.
func (s *Service) Listen() error {
	path := s.opts.SocketPath
	if len(path) > maxSocketPath {
		return fmt.Errorf("cannot listen on %s: the path has %d bytes and a socket's path at most %d: choose a shorter state_dir", path, len(path), maxSocketPath)
	}
	switch fi, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("cannot listen: %w", err)
	case fi.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("cannot listen on %s: a file that is not a socket is in its place: remove it", path)
	default:
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("cannot remove the socket of an earlier run: %w", err)
		}
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		// bind(2) gives the file the socket's own mode less the umask. The umask is
		// the whole process's and other files are made meanwhile, so it stays as it is.
		if err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), socketMode) }); err != nil {
			return err
		}
		return chmodErr
	}}
	l, err := lc.Listen(s.ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.Close()
		return ErrClosed
	}
	s.listener = l
	return nil
}

// Serve answers the plugin's calls until ctx ends, then closes the service and
// returns nil. Listen must have been called.
func (s *Service) Serve(ctx context.Context) error {
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	if l == nil {
		return errors.New("cannot serve: not listening")
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		s.Close()
		return nil
	}
	return fmt.Errorf("cannot serve: %w", err)
}

// Close stops serving. Calls that are running are cancelled, what they acquired is
// released, and Close waits for that. Leases stay recorded for the next run.
func (s *Service) Close() error {
	s.mu.Lock()
	s.closed = true
	l := s.listener
	s.mu.Unlock()
	s.cancel(fmt.Errorf("%w: the daemon is stopping", ErrCanceled))
	err := s.http.Close()
	if l != nil {
		// http.Server closes it only if Serve was called.
		if cerr := l.Close(); err == nil && !errors.Is(cerr, net.ErrClosed) {
			err = cerr
		}
	}
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	for _, e := range s.entries {
		if e.cancel != nil {
			e.cancel(fmt.Errorf("%w: the daemon is stopping", ErrCanceled))
		}
	}
	s.mu.Unlock()
	s.steps.Wait()
	s.serving.Wait()
	s.closing.Wait()
	return err
}

// serveRPC turns an HTTP connection into a net/rpc one, as rpc.Server.ServeHTTP
// does, but with an RPC server of the connection's own: so a call knows when the
// plugin that made it is gone.
func (s *Service) serveRPC(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect || r.URL.Path != rpc.DefaultRPCPath {
		http.Error(w, "this socket speaks net/rpc to CNI's dhcp plugin", http.StatusNotFound)
		return
	}
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		http.Error(w, "cannot take the connection over", http.StatusInternalServerError)
		return
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		s.log.Warn("cannot take over a plugin's connection", "error", err)
		return
	}
	defer conn.Close()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.conns[conn] = struct{}{}
	s.serving.Add(1)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		s.serving.Done()
	}()

	// The status text is what rpc.DialHTTP compares with.
	if _, err := io.WriteString(conn, "HTTP/1.0 200 Connected to Go RPC\n\n"); err != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	server := rpc.NewServer()
	if err := server.RegisterName("DHCP", &endpoint{service: s, ctx: ctx}); err != nil {
		s.log.Error("cannot register the RPC methods", "error", err)
		return
	}
	server.ServeConn(&watchedConn{Conn: conn, gone: cancel})
}

// watchedConn reports that the peer is gone. net/rpc always has a read pending, also
// while a call runs.
type watchedConn struct {
	net.Conn
	gone context.CancelCauseFunc
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.gone(fmt.Errorf("%w: the plugin that asked for it is gone", ErrCanceled))
	}
	return n, err
}

// endpoint has the methods that the plugin calls, and no others.
type endpoint struct {
	service *Service
	ctx     context.Context // ends with the connection
}

// Allocate answers the plugin's ADD and CHECK.
func (e *endpoint) Allocate(args *skel.CmdArgs, result *current.Result) (err error) {
	defer e.service.recovered("Allocate", args, &err)
	r, err := e.service.allocate(e.ctx, args)
	if err != nil {
		return err
	}
	*result = *r
	return nil
}

// Release answers the plugin's DEL.
func (e *endpoint) Release(args *skel.CmdArgs, _ *struct{}) (err error) {
	defer e.service.recovered("Release", args, &err)
	return e.service.release(e.ctx, args)
}

// recovered ends a call and logs how it ended. net/rpc does not recover: a panic in
// one call would end the daemon with every lease that it keeps.
func (s *Service) recovered(method string, args *skel.CmdArgs, err *error) {
	if p := recover(); p != nil {
		s.log.Error("panic in a call of the dhcp plugin", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = errInternal
	}
	if *err != nil {
		level := slog.LevelDebug // the attachment says it
		if errors.Is(*err, ErrUnexpected) || errors.Is(*err, errInternal) {
			level = slog.LevelWarn
		}
		s.log.Log(context.Background(), level, "dhcp call failed", "method", method, "id", clip(args.ContainerID), "interface", clip(args.IfName), "error", *err)
	}
}

func clip(s string) string { return s[:min(len(s), 128)] }
