package testlab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// builtDir is a folder of root's alone for the programs that tests build, or "". Main
// removes it.
var builtDir string

// netPorter builds cmd/net-porter once for all tests of the binary.
func netPorter(t testing.TB) string {
	t.Helper()
	root := repository(t)
	path, err := buildNetPorter(root)
	if err != nil {
		t.Fatalf("testlab: %v", err)
	}
	return path
}

var buildNetPorter = func() func(root string) (string, error) {
	var once sync.Once
	var path string
	var failed error
	return func(root string) (string, error) {
		once.Do(func() {
			if builtDir, failed = os.MkdirTemp("", "net-porter-built-"); failed != nil {
				return
			}
			path = filepath.Join(builtDir, "net-porter")
			// As `make build` does, but for the version: that would want git to trust the clone.
			build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", path, "./cmd/net-porter")
			build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				failed = fmt.Errorf("cannot build net-porter: %w: %s", err, out)
			}
		})
		return path, failed
	}
}()

// runAndClean runs the tests and removes what they share.
func runAndClean(m *testing.M) int {
	code := m.Run()
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	return code
}
