package netns

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// TestFindAtOnce: the leases of a daemon that has just started are prolonged at once,
// and one look at the processes serves all who have asked before it began.
func TestFindAtOnce(t *testing.T) {
	testlab.RequireRoot(t)
	p := newProcesses()
	var asked sync.WaitGroup
	for range 20 {
		asked.Go(func() {
			if c, err := p.since(context.Background(), 0); err != nil || len(c.inside) == 0 {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
	asked.Wait()
	if begun := p.begun.Load(); begun != 1 {
		t.Errorf("looked at all processes %d times", begun)
	}
	if c, err := p.since(context.Background(), 1); err != nil || c.number != 2 {
		t.Errorf("an old look is taken for one that began later: %+v, %v", c, err)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	p.turn <- struct{}{} // a look that does not end
	if _, err := p.since(over, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestFindAfterProcesses: processes come and go; one that is known to be in the namespace
// is of no use once it has left, and then another is found.
func TestFindAfterProcesses(t *testing.T) {
	testlab.RequireRoot(t)
	f := newFinder(t, waysAlone["process"]...)
	s, path := container(t, alice)
	want := recorded(t, f, alice, s, path)
	refuses(t, f, want, ErrUnreachable) // there is only a mount
	enter := func() (leave func()) {
		_, leave = stays(t, testlab.User{}, "nsenter", fmt.Sprintf("--net=/proc/%d/root%s", s.PID(), path))
		return leave
	}
	leave := enter()
	find(t, f, want)
	next := enter()
	leave()
	find(t, f, want)
	next()
	refuses(t, f, want, ErrUnreachable)
	enter()
	find(t, f, want)
}

// stays runs a program that runs another one, and makes it run one that stays until
// leave, or the end of the test. It returns the process id of the first.
func stays(t testing.TB, u testlab.User, argv ...string) (pid int, leave func()) {
	t.Helper()
	cmd := exec.Command(argv[0], append(argv[1:], "cat")...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID}}
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	leave = sync.OnceFunc(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", argv, err)
		}
	})
	t.Cleanup(leave)
	answer := make([]byte, 1) // once it answers, all before it has been done
	_, inErr = stdin.Write(answer)
	_, outErr = stdout.Read(answer)
	if err := errors.Join(inErr, outErr); err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return cmd.Process.Pid, leave
}

// TestFindInTime: that a process ends after it was seen matters only where it was the
// last one, and that the namespace dies meanwhile is told.
func TestFindInTime(t *testing.T) {
	testlab.RequireRoot(t)
	f := newFinder(t)
	gone := alice.Sandbox(t)
	gone.Exit()
	s, path := container(t, alice)
	own, mounted := recorded(t, f, alice, s, ownNet), recorded(t, f, alice, s, path)
	left := &group{pids: []int{gone.PID(), s.PID()}}
	f.processes.last.Store(&census{
		number: 1,
		inside: map[uint64]*group{own.ID.Ino: left}, views: map[viewKey]*group{{uid: alice.UID}: left},
	})
	f.ways = waysAlone["process"]
	find(t, f, own)
	f.ways = waysAlone["mount"]
	find(t, f, mounted)
	if begun := f.processes.begun.Load(); begun != 0 {
		t.Errorf("looked at all processes %d times", begun)
	}

	w := watch(t, f.registry)
	tries := 0
	f.ways = []way{func(*Finder, context.Context, search) (*Namespace, error) {
		tries++
		s.Exit()
		w.waitDead(t, own.NSID)
		return nil, errors.New("nothing of interest")
	}}
	refuses(t, f, own, ErrGone)
	refuses(t, f, own, ErrGone)
	if tries != 1 {
		t.Errorf("what is gone was looked for: %d tries", tries)
	}
}
