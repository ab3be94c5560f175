package peer

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FromConn asks the kernel who connected. It works for a peer that has exited
// meanwhile too; then Alive says so. The caller closes the identity.
func FromConn(c *net.UnixConn) (Identity, error) {
	return fromConn(c, peerPidfd)
}

func fromConn(c *net.UnixConn, pidfd func(sock int) (int, error)) (Identity, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Identity{}, fmt.Errorf("cannot read peer credentials: %w", err)
	}
	var id Identity
	var inner error
	if err := raw.Control(func(fd uintptr) { id, inner = fromSocket(int(fd), pidfd) }); err != nil {
		return Identity{}, fmt.Errorf("cannot read peer credentials: %w", err)
	}
	if inner != nil {
		return Identity{}, fmt.Errorf("cannot read peer credentials: %w", inner)
	}
	return id, nil
}

func fromSocket(sock int, pidfd func(sock int) (int, error)) (Identity, error) {
	cred, err := unix.GetsockoptUcred(sock, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Identity{}, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	// The kernel writes (uid_t)-1 where there is no peer, e.g. on a socket that
	// was never connected.
	if cred.Uid == ^uint32(0) || cred.Gid == ^uint32(0) {
		return Identity{}, errors.New("SO_PEERCRED: the socket has no peer")
	}
	groups, err := peerGroups(sock)
	if err != nil {
		return Identity{}, fmt.Errorf("SO_PEERGROUPS: %w", err)
	}
	fd, err := pidfd(sock)
	if errors.Is(err, errNoPeerPidfd) {
		fd, err = pidfdByNumber(int(cred.Pid), cred.Uid)
	}
	if errors.Is(err, ErrExited) {
		fd, err = -1, nil
	}
	if err != nil {
		return Identity{}, err
	}
	if fd >= 0 {
		unix.CloseOnExec(fd) // the kernel sets it already, by pidfd_open(2)
	}
	id := Identity{
		UID: cred.Uid, GID: cred.Gid, Groups: groups, Account: cred.Uid, PID: int(cred.Pid),
		process: &process{fd: fd},
	}
	if id.Alive() != nil {
		return id, nil
	}
	answersFor, err := account(id.PID, id.UID)
	if id.Alive() != nil { // what was read may be of another process by now
		return id, nil
	}
	if err != nil {
		id.Close()
		return Identity{}, err
	}
	id.Account = answersFor
	return id, nil
}

// peerGroups reads the supplementary groups (SO_PEERGROUPS, since Linux 4.13).
// With too small a buffer the kernel fails with ERANGE and says how much it takes.
func peerGroups(sock int) ([]uint32, error) {
	const each = unsafe.Sizeof(uint32(0))
	groups := make([]uint32, 32)
	for range 3 { // the set is fixed, so the second try has the room
		size := uint32(uintptr(len(groups)) * each)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(sock), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(unsafe.SliceData(groups))), uintptr(unsafe.Pointer(&size)), 0)
		n := int(uintptr(size) / each)
		switch {
		case errno == 0 && n <= len(groups):
			return groups[:n:n], nil
		case errno == unix.ERANGE && n > len(groups):
			groups = make([]uint32, n)
		case errno != 0:
			return nil, errno
		}
	}
	return nil, unix.ERANGE
}
