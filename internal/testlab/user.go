package testlab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// User is an unprivileged user of the machine. It needs no entry in the user
// database: to the kernel a user is its numbers.
type User struct {
	UID, GID uint32
	// Groups are the supplementary groups.
	Groups []uint32
}

// Dir makes a directory of the user's own, mode 0700, that is removed after the test.
func (u User) Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "user-*") // not t.TempDir: others cannot enter that one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, int(u.UID), int(u.GID)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Run starts a process of the user that has no namespaces of its own.
func (u User) Run(t testing.TB) *Sandbox {
	t.Helper()
	return u.start(t, helperUser)
}

// Sandbox starts a process of the user in user, mount and network namespaces that
// the user made, as those of rootless podman: the user is root inside, and may
// mount there.
func (u User) Sandbox(t testing.TB) *Sandbox {
	t.Helper()
	return u.start(t, helperSandbox)
}

// SandboxInHostNet is Sandbox, but for the network namespace: that is the host's,
// i.e. the one of the tests.
func (u User) SandboxInHostNet(t testing.TB) *Sandbox {
	t.Helper()
	return u.start(t, helperSandboxHostNet)
}

func (u User) start(t testing.TB, helper string) *Sandbox {
	t.Helper()
	RequireRoot(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer theirs.Close()

	cmd := exec.Command("/proc/self/exe") // needs no access to the directories that lead to it
	cmd.Dir = "/"
	cmd.Env = []string{
		helperEnv + "=" + helper, "PATH=" + os.Getenv("PATH"),
		"GORACE=atexit_sleep_ms=0", // the race detector's own second at each exit
	}
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	// No Pdeathsig: it would strike when the thread that starts the process ends,
	// and tests of namespaces end threads. The end of the socket ends the process.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups},
	}
	if err := cmd.Start(); err != nil {
		ours.Close()
		t.Fatalf("cannot start a process of uid %d: %v", u.UID, err)
	}
	s := &Sandbox{t: t, cmd: cmd, control: ours, in: json.NewDecoder(ours), out: json.NewEncoder(ours)}
	t.Cleanup(s.Exit)
	theirs.Close()
	var hello reply
	if err := s.in.Decode(&hello); err != nil {
		t.Fatalf("the process of uid %d did not start: %v", u.UID, err)
	}
	s.pid, err = strconv.Atoi(hello.Out)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// PublicDir makes a directory that every user may enter, for sockets and the like.
// It is removed after the test.
func PublicDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Clean(dir)
}
