package faultpoint_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A user who could name a folder in the daemon's environment, or an administrator with a
// stale one, must not have a daemon that kills itself.
func TestShippedProgramsHaveNoFaultPoints(t *testing.T) {
	marks := []string{"NET_PORTER_FAULTPOINTS", "before plugin"}
	for _, c := range []struct {
		flag string
		want bool
	}{{"-tags=", false}, {"-tags=faultpoints", true}} { // with them they must be found, or the test sees nothing
		path := filepath.Join(t.TempDir(), "net-porter")
		if out, err := exec.Command("go", "build", "-buildvcs=false", c.flag, "-o", path, "../../cmd/net-porter").CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v: %s", c.flag, err, out)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, mark := range marks {
			if got := bytes.Contains(program, []byte(mark)); got != c.want {
				t.Errorf("built with %s: the program has the text %q: %v, want %v", c.flag, mark, got, c.want)
			}
		}
		symbols, err := exec.Command("go", "tool", "nm", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(symbols, []byte("internal/faultpoint.")); got != c.want {
			t.Errorf("built with %s: the program has a symbol of the package: %v, want %v", c.flag, got, c.want)
		}
	}
}
