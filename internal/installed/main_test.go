package installed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/net-porter/net-porter/internal/labhost"
)

// The versions of the packages that are built of this tree.
const (
	oldVersion = "1.0.0"
	newVersion = "1.0.1"
)

// packages is the folder that they are in.
var packages string

func TestMain(m *testing.M) {
	if !labhost.Enabled() {
		if os.Getenv("CI") != "" && os.Geteuid() == 0 {
			fmt.Println("installed: left out here; `make test` runs it, which sets " + labhost.EnableEnv + "=1")
		}
		os.Exit(m.Run())
	}
	code, err := onMachine(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "installed:", err)
		code = 1
	}
	os.Exit(code)
}

// requireMachine skips a test that has no machine to run on, and says so.
func requireMachine(t *testing.T) {
	t.Helper()
	labhost.Require(t)
}

// onMachine builds the packages and runs the tests between the start and the end of a
// machine.
func onMachine(m *testing.M) (code int, err error) {
	if packages, err = os.MkdirTemp("", "net-porter-packages-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(packages)
	for _, version := range []string{oldVersion, newVersion} {
		if err := labhost.Script("packages", []string{"VERSION=" + version, "DIST=" + packages}, runtime.GOARCH); err != nil {
			return 1, fmt.Errorf("cannot build the packages of %s: %w", version, err)
		}
	}
	if err := errors.Join(labhost.Name("installed"), os.Setenv("NET_PORTER_LAB_VARIANT", "clean")); err != nil {
		return 1, err
	}
	// One that was interrupted may have left its machine.
	if err := labhost.Script("lab", nil, "down"); err != nil {
		return 1, fmt.Errorf("cannot take an old machine down: %w", err)
	}
	if !labhost.Kept() {
		defer func() {
			if downErr := labhost.Script("lab", nil, "down"); downErr != nil {
				code, err = 1, fmt.Errorf("cannot take the machine down: %w", downErr)
			}
		}()
	}
	if err := labhost.Script("lab", nil, "up"); err != nil {
		return 1, fmt.Errorf("cannot boot the machine: %w", err)
	}
	return m.Run(), nil
}

// deb is the path of the package of a version on this machine.
func deb(version string) string {
	return filepath.Join(packages, fmt.Sprintf("net-porter_%s-1_%s.deb", version, runtime.GOARCH))
}
