package peer

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// process pins a process by its pidfd (pidfd_open(2)): as long as the pidfd says
// that it runs, its number is not given to another.
type process struct {
	mu sync.Mutex
	fd int // -1: gone, or closed
}

func (p *process) alive() error {
	// Under the lock, so that the number is never polled after it was closed and
	// became some other file's.
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return ErrExited
	}
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("cannot ask whether the calling process is alive: %w", err)
		case n == 0:
			return nil
		}
		// POLLIN: it has exited. POLLHUP, POLLERR, POLLNVAL: nothing that proves life.
		return ErrExited
	}
}

func (p *process) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return nil
	}
	err := unix.Close(p.fd)
	p.fd = -1
	return err
}

// errNoPeerPidfd says that this kernel cannot name a peer by a pidfd.
var errNoPeerPidfd = errors.New("SO_PEERPIDFD is not supported")

// peerPidfd asks the kernel for the peer's pidfd (SO_PEERPIDFD, since Linux 6.5).
// A peer that exited and was reaped has none before Linux 6.16: ErrExited.
func peerPidfd(sock int) (int, error) {
	fd, err := unix.GetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.ENOPROTOOPT):
		return -1, errNoPeerPidfd
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODATA):
		return -1, ErrExited
	}
	return -1, fmt.Errorf("cannot get the peer's pidfd: %w", err)
}

// pidfdByNumber is for kernels without SO_PEERPIDFD. Between connect(2) and now the
// peer may have exited and its number may have gone to another process, so this
// proves less: that the number now belongs to *some* process of the same user.
//
// That is enough. What the pid is used for is a view of the file system, through
// /proc/<pid>/root, and a path is walked in it with the rights of the user that
// SO_PEERCRED gave; the namespace found must be owned by that user. A user who wins
// the race with another process of theirs has gained that other process's view,
// which they could have called from in the first place.
func pidfdByNumber(pid int, uid uint32) (int, error) {
	if pid == 0 {
		return -1, ErrExited // not visible from here, so there is nothing to hold on to
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return -1, ErrExited
	}
	if err != nil {
		return -1, fmt.Errorf("cannot open the peer's pidfd: %w", err)
	}
	owner, err := effectiveUID(pid)
	// What was read is of the pinned process only if that is still there.
	if err == nil {
		err = (&process{fd: fd}).alive()
	}
	if err == nil && owner != uid {
		err = ErrExited // the number is somebody else's now
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// effectiveUID reads the second number of "Uid:" (proc_pid_status(5)). The owner of
// /proc/<pid> would not do: it is root for a process that may not be dumped.
func effectiveUID(pid int) (uint32, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if errors.Is(err, os.ErrNotExist) {
		return 0, ErrExited
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the peer's uid: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		ids, ok := strings.CutPrefix(lines.Text(), "Uid:")
		if !ok {
			continue
		}
		fields := strings.Fields(ids)
		if len(fields) < 2 {
			break
		}
		uid, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("cannot read the peer's uid: %w", err)
		}
		return uint32(uid), nil
	}
	if errors.Is(lines.Err(), unix.ESRCH) {
		return 0, ErrExited
	}
	return 0, errors.New("cannot read the peer's uid: no such line in its status file")
}
