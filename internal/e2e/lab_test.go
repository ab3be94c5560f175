package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/labhost"
)

// patience bounds every command and every wait: far more than a healthy lab on a
// busy machine needs, far less than a test run is worth.
const patience = 2 * time.Minute

// result is how a command in the lab ended.
type result struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

// labExec runs a command in the lab as a user. A command that cannot be run at all, or
// takes longer than patience, has code -1.
func labExec(user string, args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := labhost.Command(ctx, user, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// What a killed command has started may hold the pipes.
	cmd.WaitDelay = time.Second
	begin := time.Now()
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(begin)}
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		r.code = -1
		r.stderr += err.Error()
	}
	if ctx.Err() != nil {
		r.stderr += "killed: it took longer than " + patience.String()
	}
	return r
}

// lab runs a command in the lab as a user, whatever its exit status.
func lab(t testing.TB, user string, args ...string) result {
	t.Helper()
	r := labExec(user, args...)
	if r.code < 0 {
		t.Fatalf("%s: %s: %s", user, strings.Join(args, " "), r.stderr)
	}
	return r
}

// must runs a command that has to succeed, and returns its stdout without the last
// newline.
func must(t testing.TB, user string, args ...string) string {
	t.Helper()
	r := lab(t, user, args...)
	if r.code != 0 {
		t.Fatalf("%s: %s: exit status %d: %s", user, strings.Join(args, " "), r.code, r.stderr)
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// refused runs a command that has to fail, logs what the user reads, and checks that
// every one of the words is in it.
func refused(t testing.TB, user string, args []string, words ...string) result {
	t.Helper()
	r := lab(t, user, args...)
	if r.code == 0 {
		t.Fatalf("%s: %s: succeeded, and should not have", user, strings.Join(args, " "))
	}
	says(t, r, words...)
	return r
}

// says logs what a command wrote on stderr and checks that every one of the words is
// in it.
func says(t testing.TB, r result, words ...string) {
	t.Helper()
	t.Logf("exit status %d after %v:\n%s", r.code, r.took.Round(100*time.Millisecond), strings.TrimSpace(r.stderr))
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("the user is not told %q", word)
		}
	}
}

// eventually asks again and again until wrong has nothing to say. It is for what no
// event tells of; each caller says what that is.
func eventually(t testing.TB, wrong func() string) {
	t.Helper()
	labhost.Eventually(t, patience, 20*time.Millisecond, wrong)
}
