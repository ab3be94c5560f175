package netns

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// checkWatch is CheckWatch with a bound.
func checkWatch(t *testing.T, r *Registry, bound time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	return r.CheckWatch(ctx)
}

// awaits is how many messages are awaited.
func awaits(r *Registry) int {
	r.awaited.mu.Lock()
	defer r.awaited.mu.Unlock()
	return len(r.awaited.ports)
}

// The check passes while a Watch runs, and fails once none does.
func TestCheckWatch(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	w := watch(t, r)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			if err := checkWatch(t, r, patience); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if checkWatch(t, r, 50*time.Millisecond) == nil {
		t.Error("the check passes though nobody watches")
	}
	if n := awaits(r); n != 0 {
		t.Errorf("%d messages are still awaited", n)
	}
}

// A subscription that is dead, though its Watch has not noticed.
func TestCheckWatchOfDeadSubscription(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	onEvents(t, r, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, unix.RTNLGRP_NSID)
	})
	watch(t, r)
	if checkWatch(t, r, 50*time.Millisecond) == nil {
		t.Error("the check passes without a subscription")
	}
}

// A check whose message may be among those that were lost, because Watch did not keep
// up, is made again.
func TestCheckWatchAfterLoss(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	smallBuffer(t, r)
	for range 64 { // each is a message
		ns := unshared(t)
		assign(t, r, ns)
		defer ns.Close()
	}
	passed := make(chan error, 1)
	go func() { passed <- checkWatch(t, r, patience) }()
	for awaits(r) == 0 {
		runtime.Gosched()
	}
	w := watch(t, r)
	for w.next(t) != lostEvent {
	}
	if err := <-passed; err != nil {
		t.Error(err)
	}
}
