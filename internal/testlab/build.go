package testlab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// builtDir is a folder of root's alone for the programs that tests build, or "". Main
// removes it.
var builtDir string

// netPorter builds cmd/net-porter once for all tests of the binary: as it is shipped, or
// where the tests themselves are (Race), with the race detector.
func netPorter(t testing.TB) string { t.Helper(); return built(t, "net-porter") }

// built is cmd/net-porter as it is built with tags.
func built(t testing.TB, name string, tags ...string) string {
	t.Helper()
	path, err := build(repository(t), name, tags)
	if err != nil {
		t.Fatalf("testlab: %v", err)
	}
	return path
}

var builds struct {
	sync.Mutex
	done map[string]error // by name
}

func build(root, name string, tags []string) (path string, err error) {
	builds.Lock()
	defer builds.Unlock()
	if builds.done == nil {
		if builtDir, err = os.MkdirTemp("", "net-porter-built-"); err != nil {
			return "", err
		}
		builds.done = map[string]error{}
	}
	path = filepath.Join(builtDir, name)
	if err, ok := builds.done[name]; ok {
		return path, err
	}
	// As `make build` does, but for the version: that would want git to trust the clone.
	args := []string{"build", "-buildvcs=false", "-tags=" + strings.Join(tags, ","), "-o", path}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if Race { // with the names of functions, for its reports
		args, env = append(args, "-race"), append(os.Environ(), "CGO_ENABLED=1")
	} else {
		args = append(args, "-trimpath", "-ldflags=-s -w")
	}
	cmd := exec.Command("go", append(args, "./cmd/net-porter")...)
	cmd.Dir, cmd.Env = root, env
	if out, failed := cmd.CombinedOutput(); failed != nil {
		err = fmt.Errorf("cannot build net-porter: %w: %s", failed, out)
	}
	builds.done[name] = err
	return path, err
}

// runAndClean runs the tests and removes what they share.
func runAndClean(m *testing.M) int {
	code := m.Run()
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	return code
}
