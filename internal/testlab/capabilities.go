package testlab

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/osthread"
)

// WithoutCapabilities runs f, as root, on a thread that has not these effective
// capabilities (capabilities(7)) and ends afterwards. Goroutines that f starts are
// on other threads.
func WithoutCapabilities(t testing.TB, f func(), capabilities ...int) {
	t.Helper()
	done := make(chan error)
	osthread.Run(func() (clean bool) {
		err := withoutCapabilities(capabilities)
		if err == nil {
			f()
		}
		done <- err
		return false
	})
	if err := <-done; err != nil {
		t.Fatalf("cannot give up capabilities: %v", err)
	}
}

func withoutCapabilities(capabilities []int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for _, c := range capabilities {
		data[c/32].Effective &^= 1 << (c % 32)
	}
	return unix.Capset(&header, &data[0])
}
