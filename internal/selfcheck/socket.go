package selfcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/osthread"
	"github.com/net-porter/net-porter/internal/unixdial"
)

// hostRoot is the root as systemd sees it, who may have made the socket where the unit's
// sandbox (ProtectHome=, PrivateTmp=) keeps the daemon from seeing it.
const hostRoot = "/proc/1/root"

// maxAnswer bounds what is read of an answer, in bytes: somebody else may give it.
const maxAnswer = 64 << 10

// Socket returns a check that connects to the daemon's socket by its path, as every
// user does, and wants an answer to GET /healthz: from this very process, since
// somebody may have put another socket in its place. passed says that systemd has
// made the socket. A path that begins with '@' is an abstract one (unix(7)).
//
// The listening process must have called listen(2) itself: the kernel names the one
// that did (SO_PEERCRED).
func Socket(path string, passed bool) func(context.Context) error {
	return func(ctx context.Context) error {
		transport := &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				c, err := dial(ctx, path, passed)
				if err != nil {
					return nil, err
				}
				if err := isOwn(c); err != nil {
					c.Close()
					return nil, err
				}
				return c, nil
			},
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/healthz", nil)
		if err != nil {
			return err
		}
		answer, err := transport.RoundTrip(request)
		if err != nil {
			return fmt.Errorf("no answer on %s: %w", path, err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)); err != nil {
			return fmt.Errorf("no whole answer on %s: %w", path, err)
		}
		// 503 says that some check fails, but it says so.
		if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("answered %s on %s", answer.Status, path)
		}
		return nil
	}
}

func dial(ctx context.Context, path string, passed bool) (net.Conn, error) {
	if strings.HasPrefix(path, "@") {
		return unixdial.Dial(ctx, path)
	}
	// Opened first, since a path may be longer than a socket's address.
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if passed && errors.Is(err, unix.ENOENT) {
		if through, hostErr := unix.Open(hostRoot+path, unix.O_PATH|unix.O_CLOEXEC, 0); hostErr == nil {
			fd, err = through, nil
		}
	}
	if err != nil && passed {
		return nil, fmt.Errorf("%w; to have systemd make it anew: systemctl stop net-porter.socket net-porter.service; systemctl start net-porter.service", err)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return connect(ctx, fd)
}

// isOwn returns an error unless it is this process that listens at the other end.
func isOwn(c net.Conn) error {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if peerErr != nil {
		return fmt.Errorf("cannot tell who listens: %w", peerErr)
	}
	if int(peer.Pid) != os.Getpid() {
		return fmt.Errorf("another process listens in the daemon's place (pid %d, uid %d)", peer.Pid, peer.Uid)
	}
	return nil
}

// connect connects to the socket that fd is, with the rights of its owner where root has
// none: the unit leaves out CAP_DAC_OVERRIDE, and SocketUser= may name anybody.
func connect(ctx context.Context, fd int) (net.Conn, error) {
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	c, err := unixdial.Dial(ctx, path)
	var st unix.Stat_t
	if !errors.Is(err, unix.EACCES) || unix.Fstat(fd, &st) != nil {
		return c, err
	}
	done := make(chan struct{})
	osthread.Run(func() (clean bool) {
		defer close(done)
		if err = unix.Setfsuid(int(st.Uid)); err == nil {
			c, err = unixdial.Dial(ctx, path)
		}
		return false // the thread ends with its rights
	})
	<-done
	return c, err
}
