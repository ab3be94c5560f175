package plugin

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// whileWaitedFor returns a context that also ends when netavark or podman does, which at a
// setup are the parent and its parent. A podman that was killed in the middle of a setup leaves the
// container's namespace mounted and does not know of it, so nobody would ever ask for the
// end of what was attached there; and without podman the daemon's socket is not found
// again. The connection that is open says that nobody waits for the answer.
//
// Where the kernel gives no pidfd (pidfd_open(2)) it is not noticed.
func whileWaitedFor(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	pids := ancestors()
	for _, pid := range pids[:min(len(pids), 2)] {
		fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK) // so that os waits by polling
		if err != nil {
			continue
		}
		process := os.NewFile(uintptr(fd), "pidfd")
		go func() {
			defer process.Close()
			if waitEnd(process) == nil {
				cancel()
			}
		}()
	}
	return ctx, cancel
}

// waitEnd returns nil when the process of a pidfd has ended: then the descriptor is readable.
func waitEnd(process *os.File) error {
	conn, err := process.SyscallConn()
	if err != nil {
		return err
	}
	ended := false
	err = conn.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		ended = n > 0 && err == nil
		return ended
	})
	return err
}
