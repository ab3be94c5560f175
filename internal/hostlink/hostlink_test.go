package hostlink

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

// ip runs commands of ip, one a line, in one go.
func ip(t *testing.T, commands ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v: %s", err, out)
	}
}

// pair makes two links that are gone after the test.
func pair(t *testing.T, name, peer string) {
	t.Helper()
	testlab.RequireRoot(t)
	ip(t, "link add "+name+" type veth peer name "+peer)
	t.Cleanup(func() { exec.Command("ip", "link", "del", name).Run() })
}

func TestView(t *testing.T) {
	pair(t, "np-a", "np-b")
	named := func(name string, want string) Link {
		t.Helper()
		var view View
		l, there, err := view.Named(name)
		got := fmt.Sprint(l.Name, " ", there, " up ", l.Up, " carrier ", l.Carrier)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, want)
		}
		if there {
			if byIndex, there, err := view.Indexed(l.Index); err != nil || !there || byIndex != l {
				t.Errorf("by its index it is %+v, %v, %v", byIndex, there, err)
			}
		}
		return l
	}
	was := named("np-a", "np-a true up false carrier false")
	ip(t, "link set np-a up")
	named("np-a", "np-a true up true carrier false")
	ip(t, "link set np-b up", "link property add dev np-a altname np-other-name-that-is-long")
	named("np-other-name-that-is-long", "np-a true up true carrier true")
	ip(t, "link set np-a name np-c")
	named("np-a", " false up false carrier false")
	if now := named("np-c", "np-c true up true carrier true"); now.Index != was.Index {
		t.Errorf("it has the index %d, and had %d", now.Index, was.Index)
	}
	ip(t, "link set np-c name np-a")

	// What was seen is not looked at again.
	var view View
	for range 2 {
		if _, there, err := view.Named("np-a"); err != nil || !there {
			t.Errorf("there: %v, %v", there, err)
		}
		if _, there, err := view.Indexed(was.Index); err != nil || !there {
			t.Errorf("there: %v, %v", there, err)
		}
		exec.Command("ip", "link", "del", "np-a").Run()
	}
	if _, there, err := new(View).Indexed(was.Index); err != nil || there {
		t.Errorf("there after its end: %v, %v", there, err)
	}
}

// watch is a Watch that runs; each call of changed sends.
func watch(t *testing.T, concerns func(int, string) bool) <-chan struct{} {
	t.Helper()
	news, err := Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	return watchOn(t, news, concerns)
}

func watchOn(t *testing.T, news *News, concerns func(int, string) bool) <-chan struct{} {
	t.Helper()
	changes, ended := make(chan struct{}, 100), make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- news.Watch(ctx, concerns, func() { changes <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		news.Close()
	})
	return changes
}

func next(t *testing.T, what string, changes <-chan struct{}) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(20 * time.Second):
		t.Fatalf("not told: %s", what)
	}
}

// All that can become of a parent link is told, by its name or, once it has another, by
// its index.
func TestWatch(t *testing.T) {
	testlab.RequireRoot(t)
	index := make(chan int, 1)
	index <- 0
	changes := watch(t, func(i int, name string) bool {
		known := <-index
		index <- known
		return name == "np-a" || i == known
	})
	pair(t, "np-a", "np-b")
	next(t, "made", changes)
	l, _, err := new(View).Named("np-a")
	if err != nil {
		t.Fatal(err)
	}
	<-index
	index <- l.Index
	for _, step := range []struct{ what, command string }{
		{"up", "link set np-a up"},
		{"carrier", "link set np-b up"},
		{"no carrier", "link set np-b down"},
		{"down", "link set np-a down"},
		{"renamed", "link set np-a name np-c"},
		{"renamed back", "link set np-c name np-a"},
		{"deleted", "link del np-a"},
	} {
		ip(t, step.command)
		next(t, step.what, changes)
	}
}

// Where the kernel could not keep all news, something may have happened.
func TestLostNews(t *testing.T) {
	pair(t, "np-a", "np-b")
	news, err := Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	ip(t, strings.Split(strings.Repeat("link set np-a up\nlink set np-a down\n", newsBuffer/512), "\n")...)
	next(t, "lost", watchOn(t, news, func(int, string) bool { return false }))
}

// A link that concerns nobody wakes nobody.
func TestIsConcern(t *testing.T) {
	testlab.RequireRoot(t)
	news, err := Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	defer news.Close()
	pair(t, "np-a", "np-b")
	conn, err := news.events.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, datagramMax)
	names := map[string]int{}
	for {
		size, err := receive(conn, buf, false)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if isConcern(buf[:size], func(index int, name string) bool { names[name] = index; return false }) {
			t.Error("a link that concerns nobody does")
		}
		if !isConcern(buf[:unix.SizeofNlMsghdr+4], func(int, string) bool { return false }) {
			t.Error("what is cut concerns nobody")
		}
	}
	for _, name := range []string{"np-a", "np-b"} {
		l, _, err := new(View).Named(name)
		if err != nil || names[name] != l.Index {
			t.Errorf("%s was told with the index %d, and has %d (%v)", name, names[name], l.Index, err)
		}
	}
}

// Nothing that could come makes it fail.
func FuzzIsConcern(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{32, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, datagram []byte) {
		isConcern(datagram, func(int, string) bool { return false })
	})
}
