package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// veth makes a pair of links, and moves the second into the namespace.
func veth(t *testing.T, host, inside string, ns *Namespace) {
	t.Helper()
	for _, args := range [][]string{
		{"link", "add", host, "type", "veth", "peer", "name", inside},
		{"link", "set", inside, "netns", ns.Path()},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
}

// TestNothingHeld: once the user's processes are gone and the Namespace is closed,
// the namespace dies, which the other end of a link pair tells by going too.
func TestNothingHeld(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	events, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(events)
	patience := unix.Timeval{Sec: 30} // only to fail instead of hanging
	if err := errors.Join(
		unix.Bind(events, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}),
		unix.SetsockoptTimeval(events, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
	); err != nil {
		t.Fatal(err)
	}

	s, path := container(t, alice)
	ns, err := o.Open(context.Background(), caller(t, alice, s), path)
	if err != nil {
		t.Fatal(err)
	}
	veth(t, "np-hold0", "np-hold1", ns)
	link, err := net.InterfaceByName("np-hold0")
	if err != nil {
		t.Fatal(err)
	}
	// What may leave a thread or a descriptor behind.
	if err := ns.Do(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { recover() }()
		ns.Do(func() error { panic("boom") })
	}()
	ns.Do(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	ns.Close()
	if _, err := net.InterfaceByName("np-hold0"); err != nil {
		t.Fatalf("gone while the user still has it: %v", err)
	}
	s.Exit()

	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Read(events, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("the namespace is still alive: %v", err)
		}
		// struct nlmsghdr, then struct ifinfomsg (rtnetlink(7)); several may follow.
		for b := buf[:n]; len(b) >= 32; {
			size := int(binary.NativeEndian.Uint32(b))
			if binary.NativeEndian.Uint16(b[4:]) == unix.RTM_DELLINK && int(binary.NativeEndian.Uint32(b[20:])) == link.Index {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// stuckMount is a FUSE file system that never answers, where every user may go.
// Release fails everything that hangs in it.
func stuckMount(t *testing.T) (dir string, release func()) {
	t.Helper()
	dir = testlab.PublicDir(t)
	release, err := mountStuck(dir)
	if errors.Is(err, errNoFuse) && os.Getenv("CI") == "" {
		t.Skipf("LEFT OUT: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { release(); unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, release
}

var errNoFuse = errors.New("this test needs /dev/fuse")

// mountStuck mounts a FUSE file system that never answers until it is released; from
// then on everything in it fails.
func mountStuck(dir string) (release func(), err error) {
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoFuse, err)
	}
	release = sync.OnceFunc(func() { unix.Close(device) })
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=1000,group_id=1000,allow_other", device)
	if err := unix.Mount("stuck", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// TestStuckFileSystem: a user whose file system hangs gets an answer, has only
// themselves to wait for, and is served again once it no longer hangs.
func TestStuckFileSystem(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	dir, release := stuckMount(t)
	a, alices := container(t, alice)
	m, mallorys := container(t, mallory)

	o.timeout = 200 * time.Millisecond
	for range walksPerUser {
		if _, err := o.Open(context.Background(), caller(t, mallory, m), dir+"/ns"); !errors.Is(err, ErrTimeout) {
			t.Fatalf("a look-up that hangs: %v", err)
		}
	}
	if _, err := o.Open(context.Background(), caller(t, mallory, m), mallorys); !errors.Is(err, ErrBusy) {
		t.Errorf("with as many hanging as allowed: %v", err)
	}
	hungUp, hangUp := context.WithCancel(context.Background())
	hangUp()
	if _, err := o.Open(hungUp, caller(t, mallory, m), mallorys); !errors.Is(err, context.Canceled) {
		t.Errorf("the client hung up: %v", err)
	}
	o.timeout = time.Minute
	open(t, o, caller(t, alice, a), alices).Close()

	release()
	open(t, o, caller(t, mallory, m), mallorys).Close()
	for range walksPerUser { // all come back
		if _, ok := o.slots.take(context.Background(), mallory.UID); !ok {
			t.Fatal("no slot")
		}
	}
}

// TestAbandonedWalkIsClosed: what a walk finds after nobody waits for it any more
// does not stay open, or it would keep a container's namespace alive for good.
func TestAbandonedWalkIsClosed(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	s, path := container(t, alice)
	c := caller(t, alice, s)
	alive := c.Alive
	before := descriptors(t)
	ctx, giveUp := context.WithCancel(context.Background())
	proceed := make(chan struct{})
	c.Alive = func() error { giveUp(); <-proceed; return alive() }
	if _, err := o.Open(ctx, c, path); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(proceed)
	for range walksPerUser { // the walk frees its slot last
		if _, ok := o.slots.take(context.Background(), alice.UID); !ok {
			t.Fatal("no slot")
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestSlots: exact, by user, and without a trace afterwards.
func TestSlots(t *testing.T) {
	s := newSlots(2)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	first, _ := s.take(context.Background(), 1)
	second, _ := s.take(context.Background(), 1)
	if _, ok := s.take(over, 1); ok {
		t.Error("a third of two slots")
	}
	other, ok := s.take(context.Background(), 2)
	if !ok {
		t.Error("another user has to wait")
	}
	first()
	third, ok := s.take(context.Background(), 1)
	if !ok {
		t.Error("a freed slot is not free")
	}
	for _, release := range []func(){second, third, other} {
		release()
	}
	if len(s.by) != 0 {
		t.Errorf("%d users are remembered", len(s.by))
	}
}
