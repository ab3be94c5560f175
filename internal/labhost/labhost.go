// Package labhost drives the hosts of scripts/lab, for the tests that take a whole one.
package labhost

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	// EnableEnv is 1 where such tests are to run.
	EnableEnv = "NET_PORTER_E2E"
	keepEnv   = "NET_PORTER_LAB_KEEP"
	nameEnv   = "NET_PORTER_LAB_NAME"
)

// Enabled says whether tests that boot a host run.
func Enabled() bool { return os.Geteuid() == 0 && os.Getenv(EnableEnv) == "1" }

// Require skips a test that has no host to run on, and says so.
func Require(t testing.TB) {
	t.Helper()
	if !Enabled() {
		t.Skip("LEFT OUT: needs root and " + EnableEnv + "=1 (`make test` as root sets it), as it boots a host of its own")
	}
}

// Kept says whether the host is to stay when the tests are over, for who looks around.
func Kept() bool { return os.Getenv(keepEnv) != "" }

// Name names the host of this process's tests, unless the environment does.
func Name(name string) error { return os.Setenv(nameEnv, cmp.Or(os.Getenv(nameEnv), name)) }

// ScriptPath is a program of scripts/: tests run in their package's folder.
func ScriptPath(name string) string {
	path, err := filepath.Abs(filepath.Join("../../scripts", name))
	if err != nil {
		panic(err) // the working directory is gone
	}
	return path
}

// Script runs one with more of an environment, its words on this process's stderr.
func Script(name string, env []string, args ...string) error {
	cmd := exec.Command(ScriptPath(name), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// Command is a command on the host, as a user.
func Command(ctx context.Context, user string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, ScriptPath("lab"), append([]string{"exec", "-u", user, "--"}, args...)...)
}

// Eventually asks again and again until wrong has nothing to say, and fails the test with
// what it says when patience is over. It is for what no event tells of; each caller says
// what that is.
func Eventually(t testing.TB, patience, pause time.Duration, wrong func() string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(pause)
	defer again.Stop()
	for {
		said := wrong()
		if said == "" {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatal(said)
		}
	}
}
