package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/osthread"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestOpenOwn(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	tests := []struct {
		name    string
		prepare func(s *testlab.Sandbox, dir string) (path, real string)
	}{
		{"as podman makes it", func(s *testlab.Sandbox, dir string) (path, real string) {
			s.PersistNetns(dir + "/ns")
			return dir + "/ns", dir + "/ns"
		}},
		{"with keep-id", func(s *testlab.Sandbox, dir string) (path, real string) {
			s.PersistNestedNetns(dir + "/ns")
			return dir + "/ns", dir + "/ns"
		}},
		{"by a symlink", func(s *testlab.Sandbox, dir string) (path, real string) {
			s.PersistNetns(dir + "/ns")
			s.Symlink("ns", dir+"/link")
			return dir + "/link", dir + "/ns"
		}},
		{"through ..", func(s *testlab.Sandbox, dir string) (path, real string) {
			s.PersistNetns(dir + "/ns")
			return "/../.." + dir + "/../" + filepath.Base(dir) + "/ns", dir + "/ns"
		}},
		{"on a tmpfs of the user's own", func(s *testlab.Sandbox, dir string) (path, real string) {
			s.Tmpfs(dir)
			s.PersistNetns(dir + "/ns")
			return dir + "/ns", dir + "/ns"
		}},
		{"below a root of the user's own", func(s *testlab.Sandbox, dir string) (path, real string) {
			s.PersistNetns(dir + "/ns")
			s.Chroot(dir)
			return "/ns", "/ns"
		}},
		{"by an absolute symlink below a root of the user's own", func(s *testlab.Sandbox, dir string) (path, real string) {
			s.PersistNetns(dir + "/ns")
			s.Chroot(dir)
			s.Symlink("/../../ns", "/link")
			return "/link", "/ns"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := alice.Sandbox(t)
			path, real := tt.prepare(s, alice.Dir(t))
			ns := open(t, o, caller(t, alice, s), path)
			// The kernel's word through the caller's own eyes.
			if want := inode(t, fmt.Sprintf("/proc/%d/root%s", s.PID(), real)); ns.ID().Ino != want {
				t.Errorf("opened %s, want inode %d", ns.ID(), want)
			}
			if got := inode(t, ns.Path()); got != ns.ID().Ino {
				t.Errorf("Path() leads to inode %d, not %s", got, ns.ID())
			}
		})
	}
}

// TestOpenByGroup: a file that the caller reaches only as a member of a group.
func TestOpenByGroup(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	shared := testlab.PublicDir(t)
	if err := errors.Join(os.Chown(shared, 0, 4242), os.Chmod(shared, 0o770)); err != nil {
		t.Fatal(err)
	}
	s := alice.Sandbox(t)
	s.PersistNetns(shared + "/ns")
	c := caller(t, alice, s)
	open(t, o, c, shared+"/ns")
	c.Groups = nil
	if _, err := o.Open(context.Background(), c, shared+"/ns"); !errors.Is(err, ErrNotFound) {
		t.Errorf("without the group: %v", err)
	}
}

// TestRootOwns: root's own namespaces, as rootful podman has, but for the host's.
func TestRootOwns(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	root := testlab.User{}
	s := root.Run(t)
	dir := testlab.PublicDir(t)
	s.PersistNetns(dir + "/ns")
	t.Cleanup(func() { unix.Unmount(dir+"/ns", unix.MNT_DETACH) })
	open(t, o, caller(t, root, s), dir+"/ns")

	for name, src := range map[string]string{"the daemon's": "/proc/self/ns/net", "process 1's": "/proc/1/ns/net"} {
		if _, err := os.Readlink(src); err != nil {
			t.Logf("LEFT OUT: %s: %v", name, err)
			continue
		}
		dst := dir + "/host"
		s.BindMount(src, dst)
		if _, err := o.Open(context.Background(), caller(t, root, s), dst); !errors.Is(err, ErrHostNamespace) {
			t.Errorf("%s: %v", name, err)
		}
		s.Unmount(dst)
	}
	a, path := container(t, alice)
	c := caller(t, root, a)
	c.UID = 0 // even with alice's view: root's rights do not make it root's
	if _, err := o.Open(context.Background(), c, path); err == nil {
		t.Error("a user's namespace was opened for root")
	}
}

func TestOpenLeaksNothing(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	s, path := container(t, alice)
	s.WriteFile(path+".file", "")
	s.BindMount("/proc/self/ns/user", path+".user")
	c := caller(t, alice, s)
	dead := c
	dead.Alive = func() error { return unix.ESRCH }
	round := func() {
		for _, p := range []string{path, path + ".file", path + ".user", path + ".none", "/proc/self/ns/net"} {
			if ns, err := o.Open(context.Background(), c, p); err == nil {
				ns.Close()
				ns.Close()
			}
			o.Open(context.Background(), dead, p)
		}
		// A walk closes its root before it frees its slot: wait for that.
		for range walksPerUser {
			release, ok := o.slots.take(context.Background(), alice.UID)
			if !ok {
				t.Fatal("no slot")
			}
			defer release()
		}
	}
	round()
	o.slots = newSlots(walksPerUser)
	before := descriptors(t)
	for range 5 {
		round()
		o.slots = newSlots(walksPerUser)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestThreadsKeepTheirRights: the thread that took on the caller's rights does not
// serve anything else afterwards.
func TestThreadsKeepTheirRights(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	s, path := container(t, alice)
	c := caller(t, alice, s)
	for range 20 {
		open(t, o, c, path)
	}
	const threads = 40
	var ready, done sync.WaitGroup
	ready.Add(threads)
	for range threads {
		done.Go(func() {
			finish := make(chan struct{})
			osthread.Run(func() bool {
				defer close(finish)
				ready.Done()
				ready.Wait() // all at once, so each has another thread
				if uid, _ := unix.SetfsuidRetUid(-1); uid != 0 {
					t.Errorf("a thread still has the file rights of uid %d", uid)
				}
				if _, err := os.ReadDir(filepath.Dir(path)); err != nil {
					t.Errorf("a thread has lost its capabilities: %v", err)
				}
				return true
			})
			<-finish
		})
	}
	done.Wait()
}

// TestProvedIsUsed: what the caller does to the path after the proof changes nothing.
func TestProvedIsUsed(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	dir := alice.Dir(t)
	s := alice.SandboxInHostNet(t)
	s.PersistNetns(dir + "/ns")
	ns := open(t, o, caller(t, alice, s), dir+"/ns")
	proved := ns.ID().Ino
	s.Unmount(dir + "/ns")
	s.BindMount("/proc/self/ns/net", dir+"/ns")
	var inside uint64
	if err := ns.Do(func() error { inside = inode(t, "/proc/thread-self/ns/net"); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := inode(t, ns.Path()); got != proved || inside != proved {
		t.Errorf("proved %d, but Path() leads to %d and Do to %d", proved, got, inside)
	}
}

// TestRaceWithSwap: while the path changes between the caller's own namespace and
// the host's, each answer is either the caller's own or a refusal.
func TestRaceWithSwap(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	dir := alice.Dir(t)
	s := alice.SandboxInHostNet(t)
	s.PersistNetns(dir + "/mine")
	s.BindMount("/proc/self/ns/net", dir+"/host")
	s.Symlink("mine", dir+"/ns")
	c := caller(t, alice, s)
	mine := open(t, o, c, dir+"/mine").ID()

	flipped := make(chan error, 1)
	go func() { _, err := s.Try("flip", dir+"/ns", "mine", "host", "4000"); flipped <- err }()
	for {
		select {
		case err := <-flipped:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
		ns, err := o.Open(context.Background(), c, dir+"/ns")
		switch {
		case err == nil:
			if ns.ID() != mine || inode(t, ns.Path()) != mine.Ino {
				t.Errorf("got %s, want %s", ns.ID(), mine)
			}
			ns.Close()
		case !errors.Is(err, ErrHostNamespace):
			t.Fatal(err)
		}
	}
}

func TestIDAsJSON(t *testing.T) {
	for want, id := range map[string]ID{
		`{"dev":4,"ino":4026532000,"boot_id":"b"}`:                               {Dev: 4, Ino: 4026532000, BootID: "b"},
		`{"dev":4,"ino":4026532000,"serial":18446744073709551615,"boot_id":"b"}`: {Dev: 4, Ino: 4026532000, Serial: 1<<64 - 1, BootID: "b"},
	} {
		b, err := json.Marshal(id)
		var back ID
		if err := errors.Join(err, json.Unmarshal(b, &back)); err != nil || string(b) != want || back != id {
			t.Errorf("got %s and back %+v, %v; want %s", b, back, err, want)
		}
	}
	if o := newOpener(t); len(o.boot) != 36 || strings.TrimSpace(o.boot) != o.boot {
		t.Errorf("boot id %q", o.boot)
	}
}
