// Package netns owns network namespaces on behalf of others: it opens one that an
// unprivileged caller names by a path, proves on the open descriptor that it is the
// caller's, identifies it, runs code inside, finds it again when nothing of it was held
// since, and learns of its death.
//
// What was proved is what is used. The descriptor that the kernel's answers are
// about is the one that Path and Do lead to; no path of the caller is looked up again
// once it was proved.
package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Errors of Opener.Open. Their texts are for the person at the end of `podman run`.
var (
	// ErrInvalidPath: the path is not one that a namespace can have.
	ErrInvalidPath = errors.New("the path is not valid: it must be absolute, shorter than 4096 bytes and without control characters")
	// ErrCallerGone: the calling process ended before its path could be looked up.
	ErrCallerGone = errors.New("the process that asked has ended before it was answered; if it was interrupted, try again")
	// ErrCallerHidden: the caller's process id means nothing to the daemon.
	ErrCallerHidden = errors.New("the calling process is in a pid namespace that the server cannot see into; " +
		"call from outside of containers, or run the server in the host's pid namespace")
	// ErrNotFound: the caller itself cannot see such a file. Nothing tells a file
	// that does not exist from one that the caller has no access to.
	ErrNotFound = errors.New("the calling process has access to no such file; " +
		"the path must be one that this process and its user can open themselves")
	// ErrNotNetns: the file is not a network namespace.
	ErrNotNetns = errors.New("it is not a network namespace; " +
		"the path must be where the namespace is mounted, as `podman inspect` shows it under SandboxKey")
	// ErrHostNamespace: it is the namespace of the machine, not of a container.
	ErrHostNamespace = errors.New("it is the network namespace of the host itself; " +
		"a container with `--network host` cannot be given an interface")
	// ErrNotOwned: it belongs to another user.
	ErrNotOwned = errors.New("it belongs to another user; only the namespaces of one's own containers can be used")
	// ErrTimeout: the look-up was not done in time.
	ErrTimeout = errors.New("looking it up took too long; " +
		"is a file system on its way, e.g. FUSE or NFS, not answering?")
	// ErrBusy: earlier look-ups of the same user hang.
	ErrBusy = errors.New("earlier requests of the same user still look up their paths; " +
		"is a file system of theirs, e.g. FUSE or NFS, not answering?")
)

// ID identifies a network namespace. The kernel may give Dev and Ino to another
// namespace once this one is gone, so without a Serial equal IDs are the same
// namespace only while something is known to have kept it.
type ID struct {
	// Dev and Ino are of the namespace's file on nsfs (namespaces(7)).
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
	// Serial is the number that the kernel gives to no other namespace until it boots
	// again: the first field of its file handle (struct nsfs_file_handle of
	// linux/nsfs.h). 0 before Linux 6.18, which has no such handles.
	Serial uint64 `json:"serial,omitempty"`
	// BootID is /proc/sys/kernel/random/boot_id (random(4)): the numbers start
	// over with each boot.
	BootID string `json:"boot_id"`
}

// String is a short form for logs, as readlink(1) of /proc/<pid>/ns/net writes it.
func (id ID) String() string { return "net:[" + strconv.FormatUint(id.Ino, 10) + "]" }

// Namespace is an open network namespace. It keeps the namespace, with its links
// and addresses, alive until Close. It is safe for concurrent use.
type Namespace struct {
	id ID

	mu sync.RWMutex
	fd int // on nsfs; -1 once closed
}

// ID identifies the namespace, also after Close.
func (n *Namespace) ID() ID { return n.id }

// Path leads other processes of the daemon's user, e.g. CNI plugins, to this very
// namespace, as CNI_NETNS must (CNI specification 1.1, section 2). It is valid until
// Close and means nothing, or something else, afterwards: it is not to be stored.
// After Close it is empty.
func (n *Namespace) Path() string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.fd < 0 {
		return ""
	}
	// Not /proc/self: that is another process for each who reads it.
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd)
}

// Close lets go of the namespace. Running Do calls are not disturbed. Closing again
// does nothing.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd < 0 {
		return nil
	}
	err := unix.Close(n.fd)
	n.fd = -1
	return err
}

// enter moves the current thread into the namespace (setns(2)).
func (n *Namespace) enter() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.fd < 0 {
		return fmt.Errorf("cannot enter network namespace %s: %w", n.id, os.ErrClosed)
	}
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("cannot enter network namespace %s: %w", n.id, err)
	}
	return nil
}

// BootID tells the boots of a machine apart (/proc/sys/kernel/random/boot_id, random(4)).
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
