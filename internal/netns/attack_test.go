package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// TestAttacks: what a user with namespaces, mounts and symlinks of their own puts in
// place of their container's namespace. A server that resolves as root, or that is
// content with any namespace file, opens most of these.
func TestAttacks(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	victim, victimPath := container(t, alice)
	// A namespace of alice's and one of the host's that everybody can see.
	public := testlab.PublicDir(t)
	root := testlab.User{}.Run(t)
	for name, src := range map[string]string{
		"alice": fmt.Sprintf("/proc/%d/root%s", victim.PID(), victimPath),
		"host":  "/proc/self/ns/net",
	} {
		root.BindMount(src, public+"/"+name)
		t.Cleanup(func() { unix.Unmount(public+"/"+name, unix.MNT_DETACH) })
	}
	// Device nodes and such are root's to make.
	if err := unix.Mknod(public+"/device", unix.S_IFCHR|0o666, int(unix.Mkdev(5, 0))); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name    string
		prepare func(s *testlab.Sandbox, dir string) (path string)
		want    error
	}{
		{"the host's, bind-mounted", func(s *testlab.Sandbox, dir string) string {
			s.BindMount("/proc/self/ns/net", dir+"/ns")
			return dir + "/ns"
		}, ErrHostNamespace},
		{"the host's, by a symlink to a mount", func(s *testlab.Sandbox, dir string) string {
			s.Symlink(public+"/host", dir+"/ns")
			return dir + "/ns"
		}, ErrHostNamespace},
		{"the host's, by a symlink in the middle", func(s *testlab.Sandbox, dir string) string {
			s.Symlink(public, dir+"/netns")
			return dir + "/netns/host"
		}, ErrHostNamespace},
		{"process 1's, by a symlink", func(s *testlab.Sandbox, dir string) string {
			s.Symlink("/proc/1/ns/net", dir+"/ns")
			return dir + "/ns"
		}, ErrNotFound},
		{"process 1's, by a symlink in the middle", func(s *testlab.Sandbox, dir string) string {
			s.Symlink("/proc/1/ns", dir+"/netns")
			return dir + "/netns/net"
		}, ErrNotFound},
		{"process 1's", says("/proc/1/ns/net"), ErrNotFound},
		{"/proc/self is the daemon", says("/proc/self/ns/net"), ErrNotFound},
		{"/proc/thread-self is the daemon", says("/proc/thread-self/ns/net"), ErrNotFound},
		{"out through the root of process 1", says("/proc/1/root" + public + "/host"), ErrNotFound},
		{"out through the root of the daemon", says("/proc/self/root" + public + "/host"), ErrNotFound},
		{"the caller's own process", func(s *testlab.Sandbox, _ string) string {
			return fmt.Sprintf("/proc/%d/ns/net", s.PID())
		}, ErrNotFound},
		{"alice's, where all can see it", says(public + "/alice"), ErrNotOwned},
		{"alice's, by a symlink", func(s *testlab.Sandbox, dir string) string {
			s.Symlink(public+"/alice", dir+"/ns")
			return dir + "/ns"
		}, ErrNotOwned},
		{"alice's, bind-mounted", func(s *testlab.Sandbox, dir string) string {
			s.BindMount(public+"/alice", dir+"/ns")
			return dir + "/ns"
		}, ErrNotOwned},
		{"alice's, by her own path", says(victimPath), ErrNotFound},
		{"alice's, through her process", says(fmt.Sprintf("/proc/%d/root%s", victim.PID(), victimPath)), ErrNotFound},
		{"alice's, of her process", says(fmt.Sprintf("/proc/%d/ns/net", victim.PID())), ErrNotFound},
		{"a user namespace", func(s *testlab.Sandbox, dir string) string {
			s.BindMount("/proc/self/ns/user", dir+"/ns")
			return dir + "/ns"
		}, ErrNotNetns},
		{"a UTS namespace", func(s *testlab.Sandbox, dir string) string {
			s.BindMount("/proc/self/ns/uts", dir+"/ns")
			return dir + "/ns"
		}, ErrNotNetns},
		{"a file", func(s *testlab.Sandbox, dir string) string { s.WriteFile(dir+"/ns", ""); return dir + "/ns" }, ErrNotNetns},
		{"a FIFO", func(s *testlab.Sandbox, dir string) string { s.Mkfifo(dir + "/ns"); return dir + "/ns" }, ErrNotNetns},
		{"a socket", func(s *testlab.Sandbox, dir string) string { s.Socket(dir + "/ns"); return dir + "/ns" }, ErrNotNetns},
		{"a directory", func(s *testlab.Sandbox, dir string) string { return dir }, ErrNotNetns},
		{"the root directory", says("/"), ErrNotNetns},
		{"a device", says(public + "/device"), ErrNotNetns},
		{"a symlink that leads nowhere", func(s *testlab.Sandbox, dir string) string {
			s.Symlink("none", dir+"/ns")
			return dir + "/ns"
		}, ErrNotFound},
		{"a symlink to itself", func(s *testlab.Sandbox, dir string) string {
			s.Symlink("ns", dir+"/ns")
			return dir + "/ns"
		}, ErrNotFound},
		{"out of a chroot by ..", func(s *testlab.Sandbox, dir string) string {
			s.Chroot(dir)
			return "/../../.." + public + "/host"
		}, ErrNotFound},
		{"out of a chroot by a symlink", func(s *testlab.Sandbox, dir string) string {
			s.Symlink("../../../.."+public+"/host", dir+"/ns")
			s.Chroot(dir)
			return "/ns"
		}, ErrNotFound},
		{"a descriptor of the daemon's", says("/proc/self/fd/0"), ErrNotFound},
		{"what the daemon has open", says("/proc/self/fdinfo/0"), ErrNotFound},
		{"empty", says(""), ErrInvalidPath},
		{"relative", says("proc/self/ns/net"), ErrInvalidPath},
		{"NUL", says("/run/netns\x00/ns"), ErrInvalidPath},
		{"newline", says("/run/netns\n/ns"), ErrInvalidPath},
		{"too long", says("/" + strings.Repeat("a", 4095)), ErrInvalidPath},
		{"component too long", says("/" + strings.Repeat("a", 300)), ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := mallory.SandboxInHostNet(t)
			path := tt.prepare(s, mallory.Dir(t))
			ns, err := o.Open(context.Background(), caller(t, mallory, s), path)
			if err == nil {
				t.Fatalf("%q was opened: %s", path, ns.ID())
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("%q: %v; want: %v", path, err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
				t.Errorf("an unfit text: %q", err)
			}
		})
	}
}

// says is a path that needs no preparation.
func says(path string) func(*testlab.Sandbox, string) string {
	return func(*testlab.Sandbox, string) string { return path }
}

// TestKernelKeepsProcesses documents what the attacks rest on: no user mounts what
// is only in another user's process.
func TestKernelKeepsProcesses(t *testing.T) {
	testlab.RequireRoot(t)
	victim, _ := container(t, alice)
	s := mallory.Sandbox(t)
	for _, pid := range []int{1, os.Getpid(), victim.PID()} {
		if _, err := s.Try("bind", fmt.Sprintf("/proc/%d/ns/net", pid), mallory.Dir(t)+"/ns"); err == nil {
			t.Errorf("mallory has mounted the namespace of process %d", pid)
		}
	}
}

// TestErrorsTellNothing: whether something exists where the caller may not look is
// not to be felt from the answer (lxc-user-nic, CVE-2022-47952).
func TestErrorsTellNothing(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	secret := alice.Dir(t)
	for _, name := range []string{"file", "dir/file"} {
		if err := os.MkdirAll(filepath.Dir(secret+"/"+name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(secret+"/"+name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/proc/1/ns/net", secret+"/magic"); err != nil {
		t.Fatal(err)
	}
	s := mallory.Sandbox(t)
	dir := mallory.Dir(t)
	s.Symlink(secret+"/file", dir+"/link")
	s.Symlink(secret+"/none", dir+"/lost")
	c := caller(t, mallory, s)
	text := func(path string) string {
		_, err := o.Open(context.Background(), c, path)
		if err == nil {
			t.Fatalf("%q was opened", path)
		}
		return strings.ReplaceAll(err.Error(), fmt.Sprintf("%q", path), "PATH")
	}
	want := text(dir + "/none")
	for _, path := range []string{
		secret + "/none", secret + "/file", secret + "/dir/file", secret + "/file/below", secret + "/magic",
		secret + "/dir/../file", secret + "/none/../file", dir + "/link", dir + "/lost",
		"/proc/self/fd/0", "/proc/self/fd/9999", "/proc/self/fdinfo/0", "/proc/self/fdinfo/9999",
		fmt.Sprintf("/proc/%d/environ", os.Getpid()), "/root/.ssh", "/root/none",
	} {
		if got := text(path); got != want {
			t.Errorf("%s: %q; of a file that does not exist: %q", path, got, want)
		}
	}
}

// TestCallerNotThere: a process that ended, or that cannot be seen, is not replaced
// by whoever has its number.
func TestCallerNotThere(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	s, path := container(t, alice)
	mine := caller(t, alice, s)
	gone, _ := container(t, alice)
	exited := caller(t, alice, gone)
	gone.Exit()

	reused := exited
	reused.PID = s.PID() // as if the kernel had given the number again
	hidden := mine
	hidden.PID = 0
	nobody := mine
	nobody.Alive = nil
	negative := mine
	negative.PID = -s.PID()
	for _, tt := range []struct {
		name   string
		caller Caller
		want   error
	}{
		{"exited", exited, ErrCallerGone},
		{"exited, its number used again", reused, ErrCallerGone},
		{"no word on whether it lives", nobody, ErrCallerGone},
		{"in a pid namespace of its own", hidden, ErrCallerHidden},
		{"negative pid", negative, ErrCallerHidden},
	} {
		if _, err := o.Open(context.Background(), tt.caller, path); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestExitDuringOpen: the root is opened first and the caller asked for afterwards;
// the other way round, the number can change hands in between.
func TestExitDuringOpen(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	s, path := container(t, alice)
	c := caller(t, alice, s)
	alive := c.Alive
	before := descriptors(t)
	asked := 0
	c.Alive = func() error {
		asked++
		if descriptors(t) <= before {
			t.Error("asked before the root was open")
		}
		s.Exit()
		return alive()
	}
	if _, err := o.Open(context.Background(), c, path); !errors.Is(err, ErrCallerGone) {
		t.Errorf("%v", err)
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// TestOverflowUser: 65534 is what the kernel says of any user that it cannot name.
func TestOverflowUser(t *testing.T) {
	testlab.RequireRoot(t)
	nobody := testlab.User{UID: overflowUID, GID: overflowUID}
	s, path := container(t, nobody)
	if _, err := newOpener(t).Open(context.Background(), caller(t, nobody, s), path); !errors.Is(err, ErrNotOwned) {
		t.Errorf("%v", err)
	}
}
