// Package testlab owns the namespaces, links, users and servers that tests which
// need root make for themselves, so that no test touches the machine it runs on.
package testlab

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// insideEnv tells a re-executed test binary that it already is in namespaces of its own.
const insideEnv = "NET_PORTER_TESTLAB_INSIDE"

// Main is the body of TestMain in every package with tests that need root. As
// root it runs the test binary again in a fresh network, mount and UTS namespace
// (unshare(2)), so that "the host" of those tests is a machine of their own: no
// interface but a loopback that is up, and mounts that nobody else sees. As
// anybody else it only runs the tests.
func Main(m *testing.M) {
	if helper := os.Getenv(helperEnv); helper != "" {
		os.Exit(runHelper(helper))
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(insideEnv) == "" {
		os.Exit(reexec())
	}
	if err := prepareInside(); err != nil {
		fmt.Fprintln(os.Stderr, "testlab:", err)
		os.Exit(1)
	}
	os.Exit(runAndClean(m))
}

// RequireRoot skips a test that cannot run without root, and says so; with CI
// set it fails instead, because on CI nothing may be left out.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root, and on CI nothing may be left out: run as root")
	}
	t.Skip("LEFT OUT: needs root (network namespaces)")
}

func reexec() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
	}
	// `go test` ends a test that runs too long with SIGQUIT: its dump comes from the child.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "testlab: cannot start the tests in namespaces of their own:", err)
		return 1
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	if err := cmd.Wait(); err != nil {
		if code := cmd.ProcessState.ExitCode(); code > 0 {
			return code
		}
		fmt.Fprintln(os.Stderr, "testlab:", err)
		return 1
	}
	return 0
}

func prepareInside() error {
	// What tests mount must not travel to the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot set lo up (is iproute2 installed?): %w: %s", err, out)
	}
	return nil
}
