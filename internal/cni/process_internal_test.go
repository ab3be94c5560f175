package cni

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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
