package peer

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// TestIdentityIsTheRealUser: root in a user namespace of one's own is not root.
func TestIdentityIsTheRealUser(t *testing.T) {
	testlab.RequireRoot(t)
	many := make([]uint32, 5000) // more than the first try has room for: ERANGE
	for i := range many {
		many[i] = uint32(100000 + i)
	}
	crowd := testlab.User{UID: 1002, GID: 1002, Groups: many}
	tests := []struct {
		name string
		user testlab.User
		run  func(testing.TB) *testlab.Sandbox
	}{
		{"plain", alice, alice.Run},
		{"root in namespaces of its own", alice, alice.Sandbox},
		{"no supplementary groups", mallory, mallory.Run},
		{"very many groups", crowd, crowd.Run},
		{"root", testlab.User{}, testlab.User{}.Run},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, socket := listen(t)
			s := tt.run(t)
			s.Dial(socket)
			id := accept(t, l).Identity()

			if id.UID != tt.user.UID || id.GID != tt.user.GID || id.PID != s.PID() {
				t.Errorf("uid, gid, pid = %d, %d, %d; want %d, %d, %d",
					id.UID, id.GID, id.PID, tt.user.UID, tt.user.GID, s.PID())
			}
			got := slices.Sorted(slices.Values(id.Groups))
			if !slices.Equal(got, slices.Sorted(slices.Values(tt.user.Groups))) {
				t.Errorf("groups = %d of them, want %d", len(got), len(tt.user.Groups))
			}
			for _, g := range append([]uint32{tt.user.GID}, tt.user.Groups...) {
				if !id.InGroup(g) {
					t.Errorf("is not in group %d", g)
				}
			}
			if id.InGroup(77) {
				t.Error("is in a group it was never in")
			}
			if id.IsRoot() != (tt.user.UID == 0) {
				t.Errorf("IsRoot() = %t for uid %d", id.IsRoot(), id.UID)
			}
			if err := id.Alive(); err != nil {
				t.Errorf("a running process: %v", err)
			}
		})
	}
}

func TestAliveAfterExit(t *testing.T) {
	testlab.RequireRoot(t)
	tests := []struct {
		name  string
		pidfd func(int) (int, error)
	}{
		{"SO_PEERPIDFD", peerPidfd},
		{"kernels before 6.5", func(int) (int, error) { return -1, errNoPeerPidfd }},
		{"6.5 and a reaped peer", func(int) (int, error) { return -1, ErrExited }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, when := range []string{"after", "before"} {
				l, socket := listen(t)
				s := alice.Run(t)
				s.Dial(socket)
				c, err := l.inner.AcceptUnix()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if when == "before" {
					s.Exit()
				}
				id, err := fromConn(c, tt.pidfd)
				if err != nil {
					t.Fatalf("exit %s the credentials were read: %v", when, err)
				}
				defer id.Close()
				if when == "after" {
					s.Exit()
				}
				if err := id.Alive(); !errors.Is(err, ErrExited) {
					t.Errorf("exit %s the credentials were read: Alive() = %v", when, err)
				}
				if id.UID != alice.UID || !id.InGroup(4242) {
					t.Errorf("exit %s the credentials were read: who it was is forgotten", when)
				}
			}
		})
	}
}

// TestPidfdByNumber: a number that went to another user's process is not taken for
// the peer's. A fallback that only opens what the number names would.
func TestPidfdByNumber(t *testing.T) {
	testlab.RequireRoot(t)
	a := alice.Sandbox(t)
	fd, err := pidfdByNumber(a.PID(), alice.UID)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	for name, pid := range map[string]int{
		"another user's":         mallory.Run(t).PID(),
		"root's":                 os.Getpid(),
		"in no visible pid ns":   0,
		"nobody's, any longer":   1 << 22, // pid_max at most, so never a process's
		"not a process's at all": -1,
	} {
		if fd, err := pidfdByNumber(pid, alice.UID); !errors.Is(err, ErrExited) {
			t.Errorf("%s number: got %d, %v", name, fd, err)
		}
	}
}

// TestAliveAfterClose: a descriptor number that was used again must not speak for
// a process it never stood for.
func TestAliveAfterClose(t *testing.T) {
	testlab.RequireRoot(t)
	l, socket := listen(t)
	alice.Run(t).Dial(socket)
	c := accept(t, l)
	id := c.Identity()
	if err := id.Alive(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	again, err := unix.PidfdOpen(os.Getpid(), 0) // takes the lowest free number
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(again)
	if err := id.Alive(); !errors.Is(err, ErrExited) {
		t.Errorf("Alive() = %v after Close", err)
	}
	if err := errors.Join(id.Close(), c.Close()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestZeroIdentity(t *testing.T) {
	var id Identity
	if err := id.Alive(); !errors.Is(err, ErrExited) {
		t.Errorf("Alive() = %v", err)
	}
	if err := id.Close(); err != nil {
		t.Error(err)
	}
}
