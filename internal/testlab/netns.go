package testlab

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Netns is a network namespace that a test made. It lives as long as the test, or
// until Close.
type Netns struct{ handle netns.NsHandle }

// NewNetns makes a network namespace with its loopback up.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	RequireRoot(t)
	n := &Netns{handle: netns.None()}
	err := onOwnThread(func() (err error) {
		n.handle, err = netns.New() // moves this thread there, too
		return err
	})
	if err != nil {
		t.Fatalf("testlab: cannot make a network namespace: %v", err)
	}
	t.Cleanup(n.Close)
	if err := n.Do(func() error { return run("ip", "link", "set", "lo", "up") }); err != nil {
		t.Fatalf("testlab: %v", err)
	}
	return n
}

// Do runs fn on a thread inside the namespace; what fn executes inherits it.
func (n *Netns) Do(fn func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("cannot enter the namespace: %w", err)
		}
		return fn()
	})
}

// Path is where the namespace can be opened, "/proc/<pid>/fd/<n>", until Close.
func (n *Netns) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", unix.Getpid(), int(n.handle))
}

// FD is the namespace's descriptor, owned by n.
func (n *Netns) FD() int { return int(n.handle) }

// Close lets go of the namespace; it is gone when nobody else holds it.
func (n *Netns) Close() {
	if n.handle.IsOpen() {
		n.handle.Close()
	}
}

// onOwnThread runs fn on a thread that fn may move into another namespace. The thread
// goes back afterwards: if it ended instead, PR_SET_PDEATHSIG would end the processes
// that it started.
func onOwnThread(fn func() error) error {
	errs := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			errs <- err
			return
		}
		err = fn()
		if back := netns.Set(home); back == nil {
			runtime.UnlockOSThread()
		}
		home.Close() // before: who waits may count descriptors
		errs <- err
	}()
	return <-errs
}
