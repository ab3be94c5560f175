package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/osthread"
	"github.com/net-porter/net-porter/internal/testlab"
)

// TestFindStuck: a mount below a file system that hangs does not keep the next one from
// being found, and alone it is told.
func TestFindStuck(t *testing.T) {
	testlab.RequireRoot(t)
	f := newFinder(t, waysAlone["mount"]...)
	f.opener.timeout = 200 * time.Millisecond
	dir := alice.Dir(t)
	s := alice.Sandbox(t)
	s.Mkdir(dir + "/a")
	s.PersistNetns(dir + "/a/ns")
	want := recorded(t, f, alice, s, dir+"/a/ns")
	before := descriptors(t)
	release := stickOver(t, s, dir+"/a")
	ns, err := f.Find(context.Background(), want)
	if err == nil {
		ns.Close()
		t.Fatal("found in spite of all")
	}
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, ErrTimeout) {
		t.Errorf("%v", err)
	}
	hungUp, hangUp := context.WithCancel(context.Background())
	hangUp()
	if _, err := f.Find(hungUp, want); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	f.opener.timeout = time.Minute
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.Find(short, want); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	release()
	waitWalks(t, f, alice)
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	s.Unmount(dir + "/a")
	find(t, f, want)

	s.BindMount(dir+"/a/ns", dir+"/b")
	stickOver(t, s, dir+"/a")
	f.mounts = mountHints{}
	f.opener.timeout = time.Second
	find(t, f, want)
}

// stickOver mounts a file system that never answers in a sandbox's mount namespace.
func stickOver(t *testing.T, s *testlab.Sandbox, dir string) (release func()) {
	t.Helper()
	var err error
	done := make(chan struct{})
	osthread.Run(func() bool {
		defer close(done)
		var fd int
		if fd, err = unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", s.PID()), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return false
		}
		defer unix.Close(fd)
		err = errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(fd, unix.CLONE_NEWNS))
		if err == nil {
			release, err = mountStuck(dir)
		}
		return false
	})
	<-done
	if errors.Is(err, errNoFuse) && os.Getenv("CI") == "" {
		t.Skipf("LEFT OUT: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return release
}

// TestFindBySubordinate: only a process with a subordinate uid is left, which the user
// namespace that it is in makes its owner's.
func TestFindBySubordinate(t *testing.T) {
	testlab.RequireRoot(t)
	f := newFinder(t, waysAlone["mount"]...)
	path := filepath.Join(alice.Dir(t), "ns")
	pid, leave := stays(t, alice, "unshare", "--user", "--mount", "--net")
	for _, file := range []string{"uid_map", "gid_map"} {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, file), []byte("0 1000 1\n1 100000 9\n"), 0); err != nil {
			t.Fatal(err)
		}
	}
	inside := []string{"nsenter", "--target", fmt.Sprint(pid), "--user", "--mount"}
	_, leaveToo := stays(t, testlab.User{}, append(inside, "--setuid", "0", "--setgid", "0", "--net",
		"sh", "-c", fmt.Sprintf("touch %[1]s && mount --bind /proc/self/ns/net %[1]s && exec cat", path))...)
	subordinate, _ := stays(t, testlab.User{}, append(inside, "--setuid", "5", "--setgid", "5")...)
	leaveToo()
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/root%s", subordinate, path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := f.opener.own(fd, alice.UID)
	if err != nil {
		t.Fatal(err)
	}
	nsid, _, err := f.registry.Assign(ns)
	if err != nil {
		t.Fatal(err)
	}
	want := Wanted{ID: ns.ID(), NSID: nsid, UID: alice.UID}
	ns.Close()
	leave()
	find(t, f, want)
	if hint, _ := f.mounts.get(want); hint.pid != subordinate {
		t.Errorf("found by process %d, not %d", hint.pid, subordinate)
	}
}

// TestPin: a process is pinned only for the user whose it is, and is no longer alive
// once it has exited, or once nobody holds it.
func TestPin(t *testing.T) {
	testlab.RequireRoot(t)
	s := alice.Sandbox(t)
	if _, err := pinProcess(s.PID(), mallory.UID); !errors.Is(err, ErrCallerGone) {
		t.Errorf("another user's: %v", err)
	}
	p, err := pinProcess(s.PID(), alice.UID)
	if err != nil {
		t.Fatal(err)
	}
	q, err := pinProcess(s.PID(), alice.UID)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := errors.Join(p.alive(), q.alive()); err != nil {
		t.Errorf("it runs: %v", err)
	}
	p.Close()
	if err := p.alive(); err == nil {
		t.Error("alive, with nothing to know it by")
	}
	s.Exit()
	if err := q.alive(); !errors.Is(err, ErrCallerGone) {
		t.Errorf("it has exited: %v", err)
	}
	if _, err := pinProcess(s.PID(), alice.UID); !errors.Is(err, ErrCallerGone) {
		t.Errorf("it has exited: %v", err)
	}
}
