package netns

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// The ways of a Finder, each alone, so that what this kernel does not need is tested too.
var waysAlone = map[string][]way{
	"handle":  {(*Finder).byHandle},
	"process": {(*Finder).byProcess},
	"mount":   {(*Finder).byMount},
}

func newFinder(t testing.TB, ways ...way) *Finder {
	t.Helper()
	o, err := NewOpener()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	f := NewFinder(o, r)
	if len(ways) > 0 {
		f.ways = ways
	}
	return f
}

// needsHandles leaves out a test on a kernel without handles.
func needsHandles(t testing.TB) {
	t.Helper()
	ns := unshared(t)
	defer ns.Close()
	if serialOf(ns.fd) == 0 {
		t.Skip("LEFT OUT: needs Linux 6.18 (file handles of namespaces)")
	}
}

// recorded is what the daemon writes down of what a process sees at a path, before it
// lets go of it. The path may be /proc/self/ns/net, of the process itself.
func recorded(t testing.TB, f *Finder, u testlab.User, s *testlab.Sandbox, path string) Wanted {
	t.Helper()
	file := fmt.Sprintf("/proc/%d/root%s", s.PID(), path)
	if path == ownNet {
		file = fmt.Sprintf("/proc/%d/ns/net", s.PID())
	}
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := f.opener.own(fd, u.UID)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	nsid, _, err := f.registry.Assign(ns)
	if err != nil {
		t.Fatal(err)
	}
	return Wanted{ID: ns.ID(), NSID: nsid, UID: u.UID}
}

const ownNet = "/proc/self/ns/net"

// find finds what was recorded, and lets go of it again.
func find(t testing.TB, f *Finder, want Wanted) {
	t.Helper()
	ns, err := f.Find(context.Background(), want)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if got := inode(t, ns.Path()); ns.ID() != want.ID || got != want.ID.Ino {
		t.Errorf("found %+v, inode %d; want %+v", ns.ID(), got, want.ID)
	}
}

func refuses(t testing.TB, f *Finder, want Wanted, reason error) {
	t.Helper()
	ns, err := f.Find(context.Background(), want)
	if err == nil {
		ns.Close()
		t.Errorf("found %+v for %+v", ns.ID(), want)
	} else if !errors.Is(err, reason) {
		t.Errorf("%v; want: %v", err, reason)
	}
}

// TestFind: each way alone finds the right one among several of several users, twice,
// and keeps nothing open.
func TestFind(t *testing.T) {
	testlab.RequireRoot(t)
	for name, ways := range waysAlone {
		t.Run(name, func(t *testing.T) {
			f := newFinder(t, ways...)
			var wanted []Wanted
			for _, u := range []testlab.User{alice, mallory, alice} {
				s, path := container(t, u)
				switch name {
				case "handle":
					needsHandles(t)
					wanted = append(wanted, recorded(t, f, u, s, path), recorded(t, f, u, s, ownNet))
				case "process":
					wanted = append(wanted, recorded(t, f, u, s, ownNet))
				case "mount":
					s.PersistNestedNetns(path + " with keep-id") // a space is escaped
					wanted = append(wanted, recorded(t, f, u, s, path), recorded(t, f, u, s, path+" with keep-id"))
				}
			}
			before := descriptors(t)
			for range 2 {
				for _, w := range wanted {
					find(t, f, w)
				}
			}
			waitWalks(t, f, alice, mallory)
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
			for _, w := range wanted {
				w.UID++ // the next user's, if it were theirs
				refuses(t, f, w, ErrUnreachable)
			}
		})
	}
}

// TestFindRemembers: the second time it is found where it was the first time, without
// another look at everything.
func TestFindRemembers(t *testing.T) {
	testlab.RequireRoot(t)
	s, path := container(t, alice)
	byProcess, byMount := newFinder(t, waysAlone["process"]...), newFinder(t, waysAlone["mount"]...)
	second, _ := container(t, alice)
	inside, mounted := recorded(t, byProcess, alice, s, ownNet), recorded(t, byMount, alice, s, path)
	sameTime := recorded(t, byProcess, alice, second, ownNet)
	for range 3 {
		find(t, byProcess, inside)
		find(t, byProcess, sameTime) // one look shows both
		find(t, byMount, mounted)
	}
	if p, m := byProcess.processes.begun.Load(), byMount.processes.begun.Load(); p != 1 || m != 1 {
		t.Errorf("looked at all processes %d and %d times", p, m)
	}
}

// TestFindDead: what has died is gone for ever, also for who did not see it die, and
// none of its kind is taken for it.
func TestFindDead(t *testing.T) {
	testlab.RequireRoot(t)
	f := newFinder(t)
	w := watch(t, f.registry)
	s, path := container(t, alice)
	want, own := recorded(t, f, alice, s, path), recorded(t, f, alice, s, ownNet)
	find(t, f, want)
	s.Unmount(path)
	w.waitDead(t, want.NSID)
	refuses(t, f, want, ErrGone)
	otherBoot := own
	otherBoot.ID.BootID = "00000000-0000-4000-8000-000000000000"
	refuses(t, f, otherBoot, ErrGone)
	find(t, f, own)
	// As if the kernel had given its numbers to the next one, which it does.
	want.ID = own.ID
	refuses(t, f, want, ErrGone)
	want.ID.Serial = 0
	refuses(t, f, want, ErrGone)
}

// TestFindHoldsNothing: however it was found, the namespace dies with what its user has
// of it once the Namespace is closed.
func TestFindHoldsNothing(t *testing.T) {
	testlab.RequireRoot(t)
	for name, ways := range waysAlone {
		t.Run(name, func(t *testing.T) {
			if name == "handle" {
				needsHandles(t)
			}
			f := newFinder(t, ways...)
			w := watch(t, f.registry)
			s, path := container(t, alice)
			if name == "process" {
				path = ownNet
			}
			want := recorded(t, f, alice, s, path)
			find(t, f, want)
			if !alive(t, f.registry, want.NSID) {
				t.Fatal("it died while its user had it")
			}
			s.Exit()
			w.waitDead(t, want.NSID)
			refuses(t, f, want, ErrGone)
		})
	}
}

// TestFindMany: with 200 namespaces, of which the daemon holds none.
func TestFindMany(t *testing.T) {
	testlab.RequireRoot(t)
	const count = 200
	s := alice.Sandbox(t)
	dir := alice.Dir(t)
	f := newFinder(t)
	before := descriptors(t)
	var wanted []Wanted
	for i := range count {
		path := fmt.Sprintf("%s/%d", dir, i)
		s.PersistNetns(path)
		wanted = append(wanted, recorded(t, f, alice, s, path))
	}
	for name, ways := range map[string][]way{"all ways": f.ways, "mount": waysAlone["mount"]} {
		f.ways = ways
		for _, w := range wanted {
			find(t, f, w)
		}
		waitWalks(t, f, alice)
		if after := descriptors(t); after != before {
			t.Errorf("%s: %d descriptors before, %d after", name, before, after)
		}
	}
}

// waitWalks waits until no walk of the users is left, which closes its root last.
func waitWalks(t testing.TB, f *Finder, users ...testlab.User) {
	t.Helper()
	for _, u := range users {
		var releases []func()
		for range walksPerUser {
			release, ok := f.opener.slots.take(context.Background(), u.UID)
			if !ok {
				t.Fatal("no slot")
			}
			releases = append(releases, release)
		}
		for _, release := range releases {
			release()
		}
	}
}
