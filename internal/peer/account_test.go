package peer

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// A user with subordinate uids is tens of thousands of users to whoever counts uids.
// Each of them answers for the one whose they are.
func TestSubordinateUsersAnswerForTheirOwner(t *testing.T) {
	testlab.RequireRoot(t)
	userns := subordinates(t, 1000, 100000)
	path := filepath.Join(testlab.PublicDir(t), "s")
	inner, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	rejected := make(chan Identity, 1)
	l := NewListener(inner, MaxPerUser(2), OnReject(func(id Identity, _ net.Conn) { rejected <- id }))
	defer l.Close()

	enter := []string{"nsenter", "-t", fmt.Sprint(userns), "-U", "-S"}
	tests := []struct {
		name    string
		command []string
		uid     uint32
	}{
		{"root of the user's namespace", append(enter, "0", "-G", "0"), 1000},
		{"a subordinate uid", append(enter, "77", "-G", "77"), 100076},
		{"a subordinate uid in a namespace of its own", append(enter, "78", "-G", "78", "unshare", "-U"), 100077},
		{"the user", []string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}, 1000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := acceptFrom(t, l, tt.command, path)
			defer c.Close()
			if id := c.Identity(); id.UID != tt.uid || id.Account != 1000 {
				t.Errorf("uid %d answers for %d, want %d for 1000", id.UID, id.Account, tt.uid)
			}
		})
	}
	t.Run("root is nobody's", func(t *testing.T) {
		c := acceptFrom(t, l, []string{"env"}, path)
		defer c.Close()
		if id := c.Identity(); id.UID != 0 || id.Account != 0 {
			t.Errorf("root is %d and answers for %d", id.UID, id.Account)
		}
	})
	t.Run("they share their owner's bound", func(t *testing.T) {
		for _, tt := range tests[:2] {
			c := acceptFrom(t, l, tt.command, path)
			defer c.Close()
		}
		accepted := make(chan net.Conn)
		go func() {
			c, _ := l.Accept()
			accepted <- c
		}()
		start(t, append(tests[3].command, client(path)...))
		select {
		case id := <-rejected:
			if id.Account != 1000 {
				t.Errorf("rejected was one of %d", id.Account)
			}
			start(t, client(path)) // lets Accept return
			(<-accepted).Close()
		case c := <-accepted:
			c.Close()
			t.Error("a third connection was accepted")
		}
	})
}

// subordinates makes a user namespace of uid's with subordinate ids from first on, as
// newuidmap(1) does, and returns a process in it.
func subordinates(t *testing.T, uid, first int) int {
	t.Helper()
	cmd := exec.Command("setpriv", fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--regid=%d", uid), "--clear-groups",
		"unshare", "-U", "sh", "-c", "echo made; exec cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe() // its end ends the process
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
	if !bufio.NewScanner(stdout).Scan() {
		t.Fatal("unshare -U said nothing")
	}
	for _, file := range []string{"uid_map", "gid_map"} {
		ids := fmt.Sprintf("0 %d 1\n1 %d 65536\n", uid, first)
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, file), []byte(ids), 0); err != nil {
			t.Fatal(err)
		}
	}
	return cmd.Process.Pid
}

// client is a command that connects and stays.
func client(path string) []string {
	return []string{"curl", "-sS", "--max-time", "60", "--unix-socket", path, "http://localhost/"}
}

func start(t *testing.T, argv []string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

func acceptFrom(t *testing.T, l *Listener, command []string, path string) *Conn {
	t.Helper()
	start(t, append(append([]string{}, command...), client(path)...))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*Conn)
}
