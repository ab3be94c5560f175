package netns

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

var (
	alice   = testlab.User{UID: 1000, GID: 1000, Groups: []uint32{4242}}
	mallory = testlab.User{UID: 1001, GID: 1001}
)

func newOpener(t *testing.T) *Opener {
	t.Helper()
	o, err := NewOpener()
	if err != nil {
		t.Fatal(err)
	}
	o.timeout = time.Minute // not those of a user whose file system hangs
	return o
}

// caller is a process as the server would know it from its socket.
func caller(t *testing.T, u testlab.User, s *testlab.Sandbox) Caller {
	t.Helper()
	pidfd, err := unix.PidfdOpen(s.PID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pidfd) })
	return Caller{UID: u.UID, GID: u.GID, Groups: u.Groups, PID: s.PID(), Alive: func() error {
		return unix.PidfdSendSignal(pidfd, 0, nil, 0)
	}}
}

// container makes what podman makes: a directory of the user's own, hidden from
// others, with a network namespace mounted in it that only the user's own mount
// namespace shows. It returns the process and the path.
func container(t testing.TB, u testlab.User) (*testlab.Sandbox, string) {
	t.Helper()
	path := filepath.Join(u.Dir(t), "netns")
	s := u.Sandbox(t)
	s.PersistNetns(path)
	return s, path
}

func open(t *testing.T, o *Opener, c Caller, path string) *Namespace {
	t.Helper()
	ns, err := o.Open(context.Background(), c, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func inode(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
