package peer

import (
	"os"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestCgroupOfFile(t *testing.T) {
	for text, want := range map[string]Cgroup{
		"0::/user.slice/user-1000.slice/session-3.scope\n": "/user.slice/user-1000.slice/session-3.scope",
		"12:pids:/x\n1:name=systemd:/user.slice\n":         "/user.slice",
		"12:pids:/x\n1:name=systemd:/user.slice\n0::/\n":   "/user.slice",
		"12:pids:/x\n1:name=systemd:/a\n0::/b\n":           "/b",
		"0::/\n":                                           "/",
		"0::/x\x1b[2J\xff = \"(deleted)\n":                 "/x\x1b[2J\xff = \"(deleted)",
		"":                                                 "",
		"9:cpu:/a:name=b\n":                                "",
		"0::/cut off where no more is read of":             "",
	} {
		if got := findCgroup(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestUnit(t *testing.T) {
	for path, want := range map[Cgroup][2]string{
		"/user.slice/user-1000.slice/session-3.scope":                                       {"session-3.scope", ""},
		"/user.slice/user-1000.slice/user@1000.service/app.slice/web.service":               {"user@1000.service", "web.service"},
		"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-1.scope/container": {"user@1000.service", "libpod-1.scope"},
		"/user.slice/user-1000.slice/user@1000.service/init.scope":                          {"user@1000.service", "init.scope"},
		"/system.slice/system-getty.slice/getty@tty1.service":                               {"getty@tty1.service", ""},
		"/system.slice/net-porter.service/user@0.service/x.service":                         {"net-porter.service", ""},
		"/system.slice/_cpu.service":                                                        {"cpu.service", ""},
		// A user's own names take no other unit's place, and no characters into a unit's name.
		"/user.slice/user-1000.slice/user@1000.service/sshd.service/web.service":   {"user@1000.service", "sshd.service"},
		"/user.slice/user-1000.slice/user@1000.service/app.slice/x\x1b[2J.service": {"user@1000.service", ""},
		"/user.slice/user-1000.slice/user@1000.service/a b.service":                {"user@1000.service", ""},
		"/user.slice/user-1000.slice/user@1000.service/.service":                   {"user@1000.service", ""},
		Cgroup("/user@1000.service/" + strings.Repeat("x", 250) + ".service"):      {"user@1000.service", ""},
		"/user.slice": {"", ""}, "/": {"", ""}, "": {"", ""}, "/../../x.service": {"", ""}, "/init.scope": {"init.scope", ""},
		"/docker/0123/x.service": {"", ""},
	} {
		if system, user := path.Unit(); system != want[0] || user != want[1] {
			t.Errorf("%q: %q and %q, want %q", path, system, user, want)
		}
	}
}

// Of a process that lives it is what the kernel says; of one that has gone, and whose
// number may be another's, nothing.
func TestCgroupOfPeer(t *testing.T) {
	testlab.RequireRoot(t)
	l, socket := listen(t)
	s := alice.Run(t)
	s.Dial(socket)
	c := accept(t, l)
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Identity().Cgroup(), findCgroup(string(own)); got != want || got == "" {
		t.Errorf("the peer is in %q, want %q", got, want)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := c.Identity().Cgroup(); got != "" {
		t.Errorf("a peer that may be gone is in %q", got)
	}
	if got := (Identity{PID: os.Getpid()}).Cgroup(); got != "" {
		t.Errorf("one who was never there is in %q", got)
	}
}
