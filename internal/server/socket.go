package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Backlog is how many connections may wait to be accepted (listen(2)). Who comes then waits
// behind all of them, so that many more would let somebody who connects all the time slow
// down everybody; those above it wait in the kernel's queue (package unixdial).
const Backlog = 512

// Socket is the daemon's unix socket in the file system.
type Socket struct {
	*net.UnixListener
	path     string
	identity fileID
}

type fileID struct{ dev, ino uint64 }

// Listen makes the socket at path with the owner, group and mode given. It is made
// under another name that only root can use and moved into place when it is as it
// has to be, so that there is no moment in which it is open wider. What lies at path
// is replaced if it is a socket that nobody listens on; anything else is an error.
// Path may be longer than a socket address (unix(7)).
func Listen(path string, uid, gid int, mode fs.FileMode) (*Socket, error) {
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make the socket %s: its folder: %w", path, err)
	}
	defer dir.Close()
	// Names below the descriptor are short, and stay in the folder that was opened.
	below := func(name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name) }
	final, fresh := below(filepath.Base(path)), below(fmt.Sprintf(".np-%d", os.Getpid()))
	if err := replaceable(final); err != nil {
		return nil, fmt.Errorf("cannot make the socket %s: %w", path, err)
	}
	_ = os.Remove(fresh)
	file, err := bindLocked(fresh, uid, gid, mode)
	if err != nil {
		_ = os.Remove(fresh)
		return nil, fmt.Errorf("cannot make the socket %s: %w", path, err)
	}
	defer file.Close()
	s, err := listenOn(file, fresh, final)
	if err != nil {
		_ = os.Remove(fresh)
		return nil, fmt.Errorf("cannot make the socket %s: %w", path, err)
	}
	s.path = path
	return s, nil
}

// CheckSocketPath says why a socket cannot be made at path, whoever listens there now.
func CheckSocketPath(path string) error {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("its folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("its folder: %s is not one", filepath.Dir(path))
	}
	_, err = occupied(path)
	return err
}

// occupied says whether a socket is at path, and fails if something else is.
func occupied(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return true, errors.New("something that is no socket is in its place: move it away, or choose another path in domain_socket.path")
	}
	return true, nil
}

// replaceable says whether a socket may be put at path.
func replaceable(path string) error {
	if there, err := occupied(path); !there || err != nil {
		return err
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return errors.New("another server listens on it: stop that one first (systemctl stop net-porter)")
	}
	if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot tell whether somebody listens on it: %w", err)
	}
	return nil
}

// bindLocked binds a socket that nobody can connect to until it listens, and that
// has its owner and mode by then.
func bindLocked(path string, uid, gid int, mode fs.FileMode) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "listener")
	// The mode of the file that bind makes is the socket's own, less the umask;
	// unlike the umask it is not shared with the rest of the program.
	err = unix.Fchmod(fd, 0)
	if err == nil {
		err = withGroup(gid, func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: path}) })
	}
	if err == nil {
		err = give(path, uid, gid)
	}
	if err == nil {
		err = os.Chmod(path, mode.Perm()) // after chown, which may clear bits
	}
	if err == nil {
		err = unix.Listen(fd, Backlog)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// withGroup runs f on a thread whose files get the group (setfsgid(2)), where the folder
// has none to hand on (inode(7)). So the group of the socket is right from the start, and
// takes CAP_SETGID alone. Where that fails, files have the process's group, as ever.
func withGroup(gid int, f func() error) error {
	runtime.LockOSThread()
	before, err := unix.SetfsgidRetGid(gid)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	_, _ = unix.SetfsgidRetGid(before)
	// A thread that has kept the group is locked to this goroutine, and ends with it.
	if now, nowErr := unix.SetfsgidRetGid(-1); nowErr == nil && now == before {
		runtime.UnlockOSThread()
	}
	return err
}

// give changes the owner and group of the file at path unless they are right: to do so
// takes CAP_CHOWN, which the unit leaves out.
func give(path string, uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if int(st.Uid) == uid && int(st.Gid) == gid {
		return nil
	}
	err := unix.Lchown(path, uid, gid)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("it cannot be given to user %d and group %d: %w; leave it to net-porter.socket (SocketUser=), or give the service CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE in a drop-in", uid, gid, err)
	}
	return err
}

func listenOn(file *os.File, fresh, final string) (*Socket, error) {
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	s := &Socket{UnixListener: listener.(*net.UnixListener)}
	s.SetUnlinkOnClose(false)
	if s.identity, err = identify(fresh); err == nil {
		err = os.Rename(fresh, final)
	}
	if err != nil {
		s.UnixListener.Close()
		return nil, err
	}
	return s, nil
}

func identify(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fileID{}, err
	}
	return fileID{st.Dev, st.Ino}, nil
}

// Remove removes the socket's file, unless another server has put its own there.
func (s *Socket) Remove() {
	if id, err := identify(s.path); err == nil && id == s.identity {
		_ = os.Remove(s.path)
	}
}
