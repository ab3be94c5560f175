package netns

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// overflowUID is what the kernel writes in place of every user that the daemon's
// user namespace has no number for (user_namespaces(7)), so it proves nothing.
const overflowUID = 65534

// hostNamespaces are the namespaces that are nobody's container: the daemon's own,
// and that of the machine's first process where it is another.
type hostNamespaces struct {
	ids []nsfsID
}

type nsfsID struct{ dev, ino uint64 }

func readHostNamespaces() (hostNamespaces, error) {
	var h hostNamespaces
	for _, path := range []string{"/proc/self/ns/net", "/proc/1/ns/net"} {
		var st unix.Stat_t
		err := unix.Stat(path, &st)
		if path != "/proc/self/ns/net" && errors.Is(err, unix.EACCES) {
			// A security module or a sandbox may hide process 1 from root too. The
			// proof of the owner still keeps its namespace from all users but root.
			continue
		}
		if err != nil {
			return h, fmt.Errorf("cannot tell which network namespace is the host's: %s: %w", path, err)
		}
		h.ids = append(h.ids, nsfsID{uint64(st.Dev), st.Ino})
	}
	return h, nil
}

func (h hostNamespaces) has(id nsfsID) bool {
	return slices.Contains(h.ids, id)
}

// onNsfs says whether a descriptor, O_PATH ones included, is of a file on nsfs,
// which are namespaces and nothing else (fstatfs(2)).
func onNsfs(fd int) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false, err
	}
	return uint32(st.Type) == unix.NSFS_MAGIC, nil
}

// reopen opens for reading what an O_PATH descriptor on nsfs refers to: ioctl(2) and
// setns(2) refuse the latter. There is no race in it, since the link leads to the
// descriptor's own file, and it cannot block, since nsfs is the kernel's.
func reopen(fd int) (int, error) {
	return unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// prove asks the kernel, about a descriptor on nsfs, whether it is a network
// namespace, not the host's, and whether a user namespace that uid made owns it
// (ioctl_nsfs(2)).
func (h hostNamespaces) prove(fd int, uid uint32) (nsfsID, error) {
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return nsfsID{}, fmt.Errorf("cannot ask for its type: %w", err)
	}
	if kind != unix.CLONE_NEWNET {
		return nsfsID{}, ErrNotNetns
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nsfsID{}, fmt.Errorf("cannot identify it: %w", err)
	}
	id := nsfsID{uint64(st.Dev), st.Ino}
	if h.has(id) {
		return nsfsID{}, ErrHostNamespace
	}
	owner, err := ownerUID(fd)
	if err != nil {
		return nsfsID{}, err
	}
	if owner != uid || owner == overflowUID {
		return nsfsID{}, ErrNotOwned
	}
	return id, nil
}

// ownerUID is the user who made the user namespace that owns the namespace.
func ownerUID(fd int) (uint32, error) {
	userns, err := unix.IoctlRetInt(fd, unix.NS_GET_USERNS)
	if errors.Is(err, unix.EPERM) {
		// It is not among the daemon's descendants: certainly not the caller's.
		return 0, ErrNotOwned
	}
	if err != nil {
		return 0, fmt.Errorf("cannot ask for its user namespace: %w", err)
	}
	defer unix.Close(userns)
	owner, err := unix.IoctlGetUint32(userns, unix.NS_GET_OWNER_UID)
	if err != nil {
		return 0, fmt.Errorf("cannot ask for its owner: %w", err)
	}
	return owner, nil
}
