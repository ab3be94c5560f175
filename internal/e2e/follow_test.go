package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/labhost"
)

// follower has the lines of a command that goes on, such as `tail -F`.
type follower struct {
	stop context.CancelFunc
	cmd  *exec.Cmd

	mu    sync.Mutex
	lines []string
	grown chan struct{} // closed when there are more lines, and replaced
}

// follow starts a command in the lab as root and collects its stdout and stderr.
func follow(args ...string) (*follower, error) {
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{stop: stop, cmd: labhost.Command(ctx, "root", args...), grown: make(chan struct{})}
	out, err := f.cmd.StdoutPipe()
	if err == nil {
		f.cmd.Stderr = f.cmd.Stdout
		err = f.cmd.Start()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("cannot follow %s: %w", strings.Join(args, " "), err)
	}
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			f.mu.Lock()
			f.lines = append(f.lines, scanner.Text())
			close(f.grown)
			f.grown = make(chan struct{})
			f.mu.Unlock()
		}
	}()
	return f, nil
}

// end stops the command. That it was killed is no error.
func (f *follower) end() {
	f.stop()
	_ = f.cmd.Wait()
}

// now is the number of lines so far: a place to wait from.
func (f *follower) now() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.lines)
}

// await waits for a line with every one of the words in it, at or after a place.
func (f *follower) await(t testing.TB, from int, words ...string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		f.mu.Lock()
		lines, grown := f.lines[from:], f.grown
		f.mu.Unlock()
		for _, line := range lines {
			if containsAll(line, words) {
				return
			}
		}
		from += len(lines)
		select {
		case <-grown:
		case <-deadline.C:
			t.Fatalf("no line with %q within %v in the output of %s", words, patience, strings.Join(f.cmd.Args, " "))
		}
	}
}

// has says whether there is a line with every one of the words in it, at or after a place.
func (f *follower) has(from int, words ...string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.lines[from:], func(line string) bool { return containsAll(line, words) })
}

func containsAll(line string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(line, word) {
			return false
		}
	}
	return true
}
