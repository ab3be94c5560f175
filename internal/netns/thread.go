package netns

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/osthread"
)

// Do runs fn inside the namespace and returns its error, or an error of its own if
// the namespace cannot be entered; then fn was not run. fn runs on another
// goroutine, locked to its thread: goroutines that it starts are not inside, and
// what it opens there (sockets, child processes) stays inside for good and keeps
// the namespace alive. If fn panics, Do panics with the same value.
//
// A thread that cannot be brought back is never used again.
func (n *Namespace) Do(fn func() error) error {
	var (
		err      error
		panicked any
		finished bool
		done     = make(chan struct{})
	)
	leave, gateErr := inside.enter(context.Background())
	if gateErr != nil {
		return gateErr
	}
	defer leave()
	osthread.Run(func() (clean bool) {
		defer close(done)
		home, openErr := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if openErr != nil {
			err, finished = fmt.Errorf("cannot enter a network namespace: its own is not readable: %w", openErr), true
			return true
		}
		defer unix.Close(home)
		if err = n.enter(); err != nil {
			finished = true
			return true
		}
		// Deferred, so that it is done before the caller goes on, however fn ends.
		defer func() { clean = unix.Setns(home, unix.CLONE_NEWNET) == nil && clean }()
		defer func() {
			if !finished {
				panicked = recover()
			}
		}()
		err = fn()
		finished = true
		return true
	})
	<-done
	switch {
	case panicked != nil:
		panic(panicked)
	case !finished: // fn ended its goroutine, e.g. by t.FailNow
		runtime.Goexit()
	}
	return err
}
