package cni

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPluginThatIsBeingWrittenIsTriedAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plugin")
	writer, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.WriteString("#!/bin/sh\n"); err != nil {
		t.Fatal(err)
	}
	tries := 0
	cmd, err := startProcess(context.Background(), func() *exec.Cmd {
		if tries++; tries == 3 {
			writer.Close()
		}
		return exec.Command(file)
	})
	if err != nil || tries < 3 {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestPluginThatIsBeingWrittenKeepsNobodyPastTheDeadline(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plugin")
	writer, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ctx, cancel := context.WithCancel(context.Background())
	_, err = startProcess(ctx, func() *exec.Cmd {
		cancel()
		return exec.Command(file)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, not %v", err, unix.ETXTBSY)
	}
}

// As many plugins as run at a time, waiting for DHCP servers perhaps, do not take a thread
// of the daemon's each.
func TestPluginsThatRunTakeNoThreads(t *testing.T) {
	const many = 40
	fifo := filepath.Join(t.TempDir(), "started")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	started, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer started.Close()
	threads := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	before := 0
	for n := range many {
		running.Go(func() {
			out, err := runProcess(ctx, "/bin/sh", []byte("echo >"+fifo+"; exec sleep 1000\n"), []string{"PATH=/bin:/usr/bin"})
			if !errors.Is(err, context.Canceled) || out.state == nil {
				t.Errorf("it ended with %v, %v", out.state, err)
			}
		})
		if _, err := started.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			before = threads()
		}
	}
	if now := threads(); now > before+many/2 {
		t.Errorf("%d threads with one plugin that runs, %d with %d", before, now, many)
	}
}
