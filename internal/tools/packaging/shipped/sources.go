package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// sources are where programs of the repository come from: a Go module and packages of it.
var sources = []struct {
	dir      string
	packages []string
}{
	{".", []string{"./cmd/net-porter", "./cmd/netavark-plugin"}},
	{"internal/tools/cniplugins", []string{"tool"}},
}

// terms finds the licences of all modules that the given programs are linked from. One of
// which there is none is an error.
func terms(of []program) (map[module][]licence, error) {
	have := map[module][]licence{}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, s := range sources {
			if err := addTerms(have, s.dir, arch, s.packages); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range of {
		for _, m := range append(p.modules, p.main) {
			if m.path == ourModule {
				continue
			}
			if expression(have[m]) == "" {
				return nil, fmt.Errorf("%s is linked from %s, which has no licence", p.path, m)
			}
		}
	}
	return have, nil
}

// goPackage is what is used of the output of go list -json.
type goPackage struct {
	Dir      string
	Standard bool
	Module   *struct{ Path, Version, Dir string }
}

func addTerms(have map[module][]licence, dir, arch string, packages []string) error {
	cmd := exec.Command("go", append([]string{"-C", dir, "list", "-deps", "-json=Dir,Standard,Module"}, packages...)...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list in %s: %w", dir, err)
	}
	toolchain, err := exec.Command("go", "env", "GOVERSION", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	goVersion, goRoot, _ := strings.Cut(strings.TrimSpace(string(toolchain)), "\n")
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("go list in %s: %w", dir, err)
		}
		m, root := module{goModule, strings.TrimPrefix(goVersion, "go")}, goRoot
		if !p.Standard {
			if p.Module.Path == ourModule {
				continue // its licence is the whole's
			}
			m, root = module{p.Module.Path, p.Module.Version}, p.Module.Dir
		}
		if have[m], err = upwards(have[m], p.Dir, root); err != nil {
			return err
		}
	}
}

// upwards adds the licences from a package's folder to its module's: code that was taken
// over from elsewhere has its own beside it.
func upwards(licences []licence, dir, root string) ([]licence, error) {
	for ; ; dir = filepath.Dir(dir) {
		found, err := licencesIn(dir)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			if !slices.Contains(licences, l) {
				licences = append(licences, l)
			}
		}
		if dir == root || len(dir) <= len(root) {
			return licences, nil
		}
	}
}
