package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// TestFindProves: a namespace that differs in any one thing from what was recorded is
// another one, whichever way led to it. The kernel gives the inode number of one that
// died to the next.
func TestFindProves(t *testing.T) {
	testlab.RequireRoot(t)
	for name, ways := range waysAlone {
		t.Run(name, func(t *testing.T) {
			f := newFinder(t, ways...)
			s, path := container(t, alice)
			if name == "process" {
				path = ownNet
			}
			right := recorded(t, f, alice, s, path)
			living, _ := container(t, alice)
			other := recorded(t, f, alice, living, ownNet)
			if right.ID.Serial != 0 || name != "handle" {
				find(t, f, right)
			}
			before := descriptors(t)
			for what, change := range map[string]func(w *Wanted){
				"id":                func(w *Wanted) { w.NSID = other.NSID },
				"id, no serial":     func(w *Wanted) { w.NSID, w.ID.Serial = other.NSID, 0 },
				"owner":             func(w *Wanted) { w.UID = mallory.UID },
				"device":            func(w *Wanted) { w.ID.Dev++ },
				"inode":             func(w *Wanted) { w.ID.Ino = other.ID.Ino },
				"serial":            func(w *Wanted) { w.ID.Serial++ },
				"all but the id":    func(w *Wanted) { w.ID = other.ID },
				"none's owner":      func(w *Wanted) { w.UID = overflowUID },
				"a number too long": func(w *Wanted) { w.ID.Ino |= 1 << 40 },
			} {
				changed := right
				change(&changed)
				if ns, err := f.Find(context.Background(), changed); err == nil {
					ns.Close()
					t.Errorf("another %s: found", what)
				} else if !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "\n") {
					t.Errorf("another %s: %v", what, err)
				}
			}
			waitWalks(t, f, alice, mallory)
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

// TestFindTheHosts: whatever is recorded, the daemon's own namespace is not opened.
func TestFindTheHosts(t *testing.T) {
	testlab.RequireRoot(t)
	fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for name, ways := range waysAlone {
		f := newFinder(t, ways...)
		id := ID{Dev: f.opener.host.ids[0].dev, Ino: f.opener.host.ids[0].ino, Serial: serialOf(fd), BootID: f.opener.boot}
		t.Run(name, func(t *testing.T) { refuses(t, f, Wanted{ID: id, NSID: f.registry.ownID}, ErrUnreachable) })
	}
}

// TestFindUnproven: where neither the id nor a serial is for one namespace only, there
// is nothing to know it by.
func TestFindUnproven(t *testing.T) {
	testlab.RequireRoot(t)
	f := newFinder(t)
	s, _ := container(t, alice)
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", s.PID()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := f.opener.own(fd, alice.UID)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	veth(t, "np-find0", "np-find1", ns) // so that the kernel gives it an id
	want := recorded(t, f, alice, s, ownNet)
	if Lasting(want.NSID) {
		t.Fatalf("id %d", want.NSID)
	}
	if want.ID.Serial != 0 {
		find(t, f, want)
	}
	want.ID.Serial = 0
	refuses(t, f, want, errUnproven)
}

// TestFindSwapped: a user mounts another namespace of theirs where the right one was,
// over it or in its place, also where it was found before.
func TestFindSwapped(t *testing.T) {
	testlab.RequireRoot(t)
	f := newFinder(t, waysAlone["mount"]...)
	dir := alice.Dir(t)
	s := alice.Sandbox(t)
	for _, name := range []string{"right", "wrong"} {
		s.PersistNetns(dir + "/" + name)
	}
	want := recorded(t, f, alice, s, dir+"/right")
	find(t, f, want)
	s.BindMount(dir+"/wrong", dir+"/right")
	refuses(t, f, want, ErrUnreachable)
	s.Unmount(dir + "/right")
	find(t, f, want)
	s.BindMount(dir+"/right", dir+"/moved")
	s.Unmount(dir + "/right")
	s.BindMount(dir+"/wrong", dir+"/right")
	find(t, f, want)
	if hint, _ := f.mounts.get(want); hint.path != dir+"/moved" {
		t.Errorf("found at %s", hint.path)
	}
	s.Unmount(dir + "/moved")
	refuses(t, f, want, ErrGone)
}

// TestFindHidden: a mount that only others see does not lead to it, nor one that is
// where its owner has no access.
func TestFindHidden(t *testing.T) {
	testlab.RequireRoot(t)
	f := newFinder(t, waysAlone["mount"]...)
	s, path := container(t, alice)
	want := recorded(t, f, alice, s, path)
	public := testlab.PublicDir(t)
	root := testlab.User{}.Run(t)
	root.BindMount(fmt.Sprintf("/proc/%d/root%s", s.PID(), path), public+"/ns")
	t.Cleanup(func() { unix.Unmount(public+"/ns", unix.MNT_DETACH) })
	mallory.Sandbox(t)
	s.Exit()
	refuses(t, f, want, ErrUnreachable)
	alice.Run(t) // sees what root has mounted
	find(t, f, want)
	if err := os.Chmod(public, 0o700); err != nil {
		t.Fatal(err)
	}
	refuses(t, f, want, ErrUnreachable)
}
