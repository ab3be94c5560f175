package testlab

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// child is a program that a test started and that does not outlive the test binary.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it is gone and err is set
	err   error         // of cmd.Wait
}

// startChild starts a program in a namespace, nil for the host's. What it writes goes to log.
func startChild(ns *Netns, cmd *exec.Cmd, log *logBuffer) (*child, error) {
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = time.Second // descendants may hold on to the log
	// A session of its own tells its descendants, whatever groups and parents they have.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setsid: true}
	var err error
	starter()(func() { err = startIn(ns, cmd) })
	if err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		if err := cmd.Wait(); !errors.Is(err, exec.ErrWaitDelay) {
			c.err = err
		}
	}()
	return c, nil
}

// end sends a signal and returns when the program is gone, with the error that it
// ended with. A program that does not end is killed.
func (c *child) end(signal unix.Signal, bound time.Duration) error {
	_ = c.cmd.Process.Signal(signal)
	select {
	case <-c.ended:
		return c.err
	case <-time.After(bound):
		_ = c.cmd.Process.Kill()
		<-c.ended
		return fmt.Errorf("killed, as it did not end within %s of %s", bound, signal)
	}
}

// starter gives a function that runs another on a thread that stays to the end.
// PR_SET_PDEATHSIG strikes when the thread that started a process ends, and tests of
// namespaces end threads.
var starter = sync.OnceValue(func() func(fn func()) {
	work, done := make(chan func()), make(chan struct{})
	begun := make(chan struct{})
	go serveThread(work, done, begun)
	<-begun
	var one sync.Mutex
	return func(fn func()) {
		one.Lock()
		defer one.Unlock()
		work <- fn
		<-done
	}
})

func serveThread(work <-chan func(), done, begun chan<- struct{}) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The namespaces of the first thread are what /proc/self shows: not that one.
		another := make(chan struct{})
		go serveThread(work, done, another)
		<-another
		runtime.UnlockOSThread()
		close(begun)
		return
	}
	close(begun)
	for fn := range work {
		fn()
		done <- struct{}{}
	}
}

// startIn starts a command on this thread, which it moves into the namespace and back.
func startIn(ns *Netns, cmd *exec.Cmd) error {
	if ns == nil {
		return cmd.Start()
	}
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	if err := netns.Set(ns.handle); err != nil {
		return fmt.Errorf("cannot enter the namespace: %w", err)
	}
	err = cmd.Start()
	if back := netns.Set(home); back != nil {
		panic(fmt.Sprintf("testlab: a thread cannot leave a namespace: %v", back))
	}
	return err
}
