package peer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxUserNamespaces is how deep the kernel lets user namespaces be nested (user_namespaces(7)).
const maxUserNamespaces = 32

// account finds the user whom a process answers for. A user may be any of thousands
// of subordinate uids (subuid(5)), but only inside a user namespace that the user
// made, which the kernel remembers (NS_GET_OWNER_UID, ioctl_nsfs(2)): the one who made
// the outermost of a process's user namespaces below the daemon's own is the one.
// Where that was root, as for containers that root runs, the uid stands for itself.
func account(pid int, uid uint32) (uint32, error) {
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &own); err != nil {
		return 0, fmt.Errorf("cannot tell the daemon's own user namespace: %w", err)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, ErrExited
	}
	if err != nil {
		return 0, fmt.Errorf("cannot open the peer's user namespace: %w", err)
	}
	defer func() { unix.Close(fd) }()
	owner := uid
	for range maxUserNamespaces + 1 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return 0, fmt.Errorf("cannot identify the peer's user namespace: %w", err)
		}
		if st.Dev == own.Dev && st.Ino == own.Ino {
			if owner == 0 {
				return uid, nil
			}
			return owner, nil
		}
		if owner, err = unix.IoctlGetUint32(fd, unix.NS_GET_OWNER_UID); err != nil {
			return 0, fmt.Errorf("cannot ask who made the peer's user namespace: %w", err)
		}
		parent, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		if err != nil {
			return 0, fmt.Errorf("cannot ask for the parent of the peer's user namespace: %w", err)
		}
		unix.Close(fd)
		fd = parent
	}
	return 0, errors.New("the peer's user namespaces are nested too deep")
}
