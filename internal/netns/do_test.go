package netns

import (
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/net-porter/net-porter/internal/osthread"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestDo(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	s, path := container(t, alice)
	ns := open(t, o, caller(t, alice, s), path)
	home := inode(t, "/proc/thread-self/ns/net")

	want := errors.New("of fn")
	if err := ns.Do(func() error { return want }); err != want {
		t.Errorf("Do returned %v", err)
	}
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recovered %v", v)
			}
		}()
		ns.Do(func() error { panic("boom") })
	}()
	ended := make(chan bool)
	go func() {
		defer close(ended)
		ns.Do(func() error { runtime.Goexit(); return nil })
		t.Error("Do returned though fn did not")
	}()
	<-ended

	// Whatever threads there are now, none is left inside.
	var ready, done sync.WaitGroup
	const threads = 40
	ready.Add(threads)
	for range threads {
		done.Go(func() {
			finish := make(chan struct{})
			osthread.Run(func() bool {
				defer close(finish)
				ready.Done()
				ready.Wait()
				if got := inode(t, "/proc/thread-self/ns/net"); got != home {
					t.Errorf("a thread was left in another namespace: %d", got)
				}
				return true
			})
			<-finish
		})
	}
	done.Wait()

	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { t.Error("fn ran"); return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Do after Close: %v", err)
	}
	if p := ns.Path(); p != "" {
		t.Errorf("Path after Close: %q", p)
	}
}

// TestDoSeesTheContainer: links made by the container's side are seen, the host's are not.
func TestDoSeesTheContainer(t *testing.T) {
	testlab.RequireRoot(t)
	o := newOpener(t)
	s, path := container(t, alice)
	ns := open(t, o, caller(t, alice, s), path)
	veth(t, "np-seen0", "np-seen1", ns)
	var names []string
	if err := ns.Do(func() error {
		list, err := net.Interfaces()
		for _, l := range list {
			names = append(names, l.Name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(names, "np-seen1") || slices.Contains(names, "np-seen0") {
		t.Errorf("links inside: %v", names)
	}
	if got := s.Links(path); !slices.Contains(got, "np-seen1") {
		t.Errorf("the user sees %v inside", got)
	}
}
