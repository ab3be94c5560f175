package packaging

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	version = "1.2.3"
	section = "## [" + version + "] - 2026-01-02\n"
)

// scratch is a folder of this run alone.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "net-porter-packaging-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		scratch = dir
		return m.Run()
	}())
}

// trees are two copies of the tree, with a release made in each.
type trees struct{ one, other string }

// dist is where a release is.
func (t trees) dist() string { return filepath.Join(t.one, "dist", "net-porter-"+version) }

// root is what make install has made for an architecture.
func (t trees) root(arch string) string { return filepath.Join(t.one, "dist/work", arch, "root") }

// released makes the releases, once for all tests.
func released(t *testing.T) trees {
	t.Helper()
	testlab.RequireRoot(t)
	made, err := release()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

var release = sync.OnceValues(func() (trees, error) {
	made := trees{filepath.Join(scratch, "one"), filepath.Join(scratch, "another/folder-of-a-much-longer-name")}
	if err := copyTree(made.one); err != nil {
		return made, err
	}
	var both errgroup.Group
	both.Go(func() error {
		_, err := run(made.one, nil, "make", "--no-print-directory", "release", "VERSION="+version)
		return err
	})
	both.Go(func() error {
		// As somebody else does it, who shares as little with the first as can be.
		script := `umask 077 && git clone -q "$0" "$1" && cd "$1" && touch README.md && make --no-print-directory release VERSION=` + version
		_, err := run(scratch, []string{"TZ=Asia/Tokyo", "LANG=C.UTF-8", "GOMAXPROCS=1"}, "sh", "-c", script, made.one, made.other)
		return err
	})
	return made, both.Wait()
})

// copyTree makes a repository of the files that are in this one, at the tag of a version
// that its changelog tells of.
func copyTree(dir string) error {
	script := `set -e
		mkdir -p "$1"
		git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
			xargs -0 sh -c 'for f; do test ! -f "$f" || printf "%s\0" "$f"; done' sh |
			tar -c --null -T - | tar -x -C "$1"
		cd "$1"
		sed -i 's/^## \[Unreleased\]$/&\n\n` + strings.TrimSpace(section) + `/' CHANGELOG.md
		git init -q .
		git add -A
		git commit -q -m all
		git tag v` + version
	repository, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	_, err = run(repository, []string{
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z",
	}, "sh", "-c", script, "sh", dir)
	return err
}

// run runs a program in a folder, without what might tell it another version or time. The
// error has what it said.
func run(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	for _, e := range os.Environ() {
		switch key, _, _ := strings.Cut(e, "="); key {
		case "VERSION", "REVISION", "DRAFT", "DIST", "BIN", "GOARCH", "GOOS", "SOURCE_DATE_EPOCH", "MAKEFLAGS", "MFLAGS", "MAKELEVEL":
		default:
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(append(cmd.Env, "LC_ALL=C"), env...)
	var out, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &told
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s%s", name, err, &told, &out)
	}
	return out.String() + told.String(), nil
}

// must is run, whose error fails the test.
func must(t *testing.T, dir string, name string, args ...string) string {
	t.Helper()
	out, err := run(dir, nil, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
