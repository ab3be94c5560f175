package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/unixdial"
)

const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1 // bytes (unix(7))

// dialer connects to the daemon's socket.
//
// For setup and teardown netavark runs the plugin in a mount namespace in which
// /run is podman's own. The daemon's socket is not there, but podman, an ancestor of
// this process, sees it: the way leads through the roots of its threads (see [roots]).
type dialer struct {
	path      string // absolute
	ancestors func() []int
}

func isAbsent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

// dial tries the path as this process sees it, then as its ancestors see it. The
// first that has the socket decides. The error is an *unreachableError.
func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	conn, err := connectHere(ctx, d.path)
	if err == nil {
		return conn, nil
	}
	if !isAbsent(err) {
		return nil, d.unreachable(err)
	}
	for _, pid := range d.ancestors() {
		for root := range roots(pid) {
			conn, through := connectThrough(ctx, root, d.path)
			if through == nil {
				return conn, nil
			}
			if !errors.Is(through, errHidden) && !isAbsent(through) {
				return nil, d.unreachable(through)
			}
		}
	}
	return nil, d.unreachable(err)
}

func (d *dialer) unreachable(err error) error {
	u := &unreachableError{path: d.path, err: err}
	var denied *deniedError
	if errors.As(err, &denied) {
		u.socket = denied.socket
	}
	return u
}

// connectHere connects to path in this process's own root.
func connectHere(ctx context.Context, path string) (net.Conn, error) {
	if len(path) > maxSocketPath {
		return connectOpened(ctx, func() (int, error) { return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0) })
	}
	conn, err := unixdial.DialSoon(ctx, path)
	if errors.Is(err, unix.EACCES) {
		denied := &deniedError{err: err}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			denied.socket = &st
		}
		return nil, denied
	}
	return conn, err
}

// errHidden says that this process may not look through another one's root, or that the
// other is gone.
var errHidden = errors.New("cannot look through the process's root")

// connectThrough connects to path below rootPath, one of [roots]. Symbolic links on
// the way stay in that root.
func connectThrough(ctx context.Context, rootPath, path string) (net.Conn, error) {
	root, err := unix.Open(rootPath, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errHidden
	}
	defer unix.Close(root)
	return connectOpened(ctx, func() (int, error) {
		return unix.Openat2(root, strings.TrimPrefix(filepath.Clean(path), "/"), &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
	})
}

// connectOpened connects to the socket file that open opens with O_PATH. Its address
// is the descriptor's in /proc, which is short however long the path is.
func connectOpened(ctx context.Context, open func() (int, error)) (net.Conn, error) {
	fd, err := open()
	if errors.Is(err, unix.EACCES) {
		return nil, &deniedError{err: err}
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	conn, err := unixdial.DialSoon(ctx, fmt.Sprintf("/proc/self/fd/%d", fd))
	if errors.Is(err, unix.EACCES) {
		denied := &deniedError{err: err}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			denied.socket = &st
		}
		return nil, denied
	}
	return conn, err
}

// deniedError is EACCES, and the socket's owner and mode if they could be seen.
type deniedError struct {
	err    error
	socket *unix.Stat_t // nil: a directory on the way is not open to this user
}

func (e *deniedError) Error() string { return e.err.Error() }
func (e *deniedError) Unwrap() error { return e.err }
