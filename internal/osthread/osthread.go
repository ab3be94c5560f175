// Package osthread owns running what changes a thread of the operating system, its
// namespace, rights or ids, on one that nobody else gets in that state.
package osthread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Run runs fn on a goroutine of its own that is locked to a thread, and does
// not wait. The thread goes back to the runtime if fn returns true; if it returns
// false, or does not return, the thread ends with the goroutine, and with it
// whatever fn made of it.
//
// It is never the process's first thread: that one cannot end, and it is the one
// that /proc/<pid> of the daemon shows.
func Run(fn func() (clean bool)) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			if fn() {
				runtime.UnlockOSThread()
			}
			return
		}
		defer runtime.UnlockOSThread()
		// As long as this goroutine waits here, no other runs on this thread.
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			if fn() {
				runtime.UnlockOSThread()
			}
		}()
		<-done
	}()
}
