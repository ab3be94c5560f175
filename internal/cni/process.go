package cni

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputDelay bounds how long a run waits for output after its process group is
// dead. Only a descendant that left the group can still hold the pipes; on a busy
// machine, what was printed takes a while to be read.
const outputDelay = time.Second

// busyRetries is how often a plugin is tried again that is being written
// (ETXTBSY, execve(2)), beginning after busyDelay and twice as long each time.
const (
	busyRetries = 6
	busyDelay   = 10 * time.Millisecond
)

// outcome is what a process left behind.
type outcome struct {
	stdout   []byte
	stderr   *tailBuffer
	state    *os.ProcessState
	overflow bool // it printed more than maxStdout and was killed
	escaped  bool // a descendant outside the process group still held its output
}

// runProcess runs a program as a process group of its own, in "/", with exactly
// this environment, to its end or to the context's. When it returns, no process of
// the group runs any more. The error is that of the start or of the context; how
// the program ended is in the outcome.
//
// Linux has no umask per exec: programs get the daemon's own (umask(2)).
func runProcess(ctx context.Context, path string, stdin []byte, env []string) (outcome, error) {
	stdout := newBoundedBuffer(maxStdout)
	stderr := &tailBuffer{limit: keptStderr}
	pidfd := -1
	cmd, err := startProcess(ctx, func() *exec.Cmd {
		return &exec.Cmd{
			Path: path, Args: []string{path}, Env: env, Dir: "/",
			Stdin: bytes.NewReader(stdin), Stdout: stdout, Stderr: stderr,
			SysProcAttr: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd},
			WaitDelay:   outputDelay,
		}
	})
	if err != nil {
		return outcome{stderr: stderr}, err
	}
	group := -cmd.Process.Pid
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		waitUnreaped(cmd.Process.Pid, pidfd)
	}()
	var cancelled error
	select {
	case <-exited:
	case <-stdout.full:
	case <-ctx.Done():
		cancelled = ctx.Err()
	}
	// The leader is not reaped yet, be it dead or alive, so that the number of its
	// group cannot mean another one.
	_ = unix.Kill(group, unix.SIGKILL)
	<-exited
	_ = unix.Kill(group, unix.SIGKILL)
	err = cmd.Wait()
	out := outcome{stdout: stdout.data, stderr: stderr, state: cmd.ProcessState, overflow: stdout.over}
	out.escaped = errors.Is(err, exec.ErrWaitDelay)
	if cmd.ProcessState == nil {
		return out, err
	}
	return out, cancelled
}

// startProcess starts what makes a new command each time, since one that failed to
// start cannot be started again.
func startProcess(ctx context.Context, command func() *exec.Cmd) (*exec.Cmd, error) {
	delay := busyDelay
	for try := 0; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		cmd := command()
		err := cmd.Start()
		if err == nil {
			return cmd, nil
		}
		if !errors.Is(err, unix.ETXTBSY) || try == busyRetries {
			return nil, err
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		delay *= 2
	}
}

// waitUnreaped returns when the process has ended, and leaves it to be reaped. It takes
// the pidfd, which is -1 where there is none (pidfd_open(2)).
func waitUnreaped(pid, pidfd int) {
	if pidfd >= 0 && waitPolled(pidfd) == nil {
		return
	}
	// WNOWAIT, waitid(2): a thread for each process that runs.
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// waitPolled waits for a pidfd to be readable, as it is once its process has ended. The
// waiting is Go's poller's: it takes no thread.
func waitPolled(pidfd int) error {
	if err := unix.SetNonblock(pidfd, true); err != nil { // what os.NewFile gives to the poller
		unix.Close(pidfd)
		return err
	}
	file := os.NewFile(uintptr(pidfd), "pidfd")
	defer file.Close()
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var pollErr error
	err = conn.Read(func(fd uintptr) (ended bool) {
		for {
			var n int
			n, pollErr = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			if !errors.Is(pollErr, unix.EINTR) {
				return n > 0 || pollErr != nil
			}
		}
	})
	return errors.Join(err, pollErr)
}
