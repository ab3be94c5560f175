package packaging

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReleaseIsRefused(t *testing.T) {
	t.Parallel()
	made := released(t)
	dir := filepath.Join(t.TempDir(), "tree")
	must(t, made.one, "git", "clone", "-q", made.one, dir)
	refused := func(why, version string) {
		t.Helper()
		out, err := run(dir, nil, "make", "release", "VERSION="+version)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("a release is made, or not refused because of %q: %v %s", why, err, out)
		}
		if _, err := os.Stat(filepath.Join(dir, "dist")); err == nil {
			t.Error("a refused release has left something in dist")
		}
	}
	refused("make release VERSION=1.2.3", "")
	refused("make release VERSION=1.2.3", "v1.2.3")
	refused("make release VERSION=1.2.3", "1.2.3; true")
	refused("not tagged v1.2.4", "1.2.4")
	must(t, dir, "git", "tag", "v1.2.4")
	refused("no section '## [1.2.4] - <date>'", "1.2.4")
	if err := os.WriteFile(filepath.Join(dir, "new.go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refused("changes that are not committed", version)
}

func TestEverythingLinkedHasItsLicenceAndIsInTheSBOM(t *testing.T) {
	t.Parallel()
	made := released(t)
	tool := filepath.Join(made.one, "bin/packaging/shipped")
	bom := must(t, made.one, tool, "verify", filepath.Join(made.dist(), "net-porter-"+version+".spdx.json"))
	for _, arch := range []string{"amd64", "arm64"} {
		root := made.root(arch)
		data, err := os.ReadFile(filepath.Join(root, "usr/share/doc/net-porter/copyright"))
		if err != nil {
			t.Fatal(err)
		}
		copyright, programs := string(data), 0
		err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if info, err := entry.Info(); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
				return err
			}
			programs++
			build, err := buildinfo.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range append(build.Deps, &build.Main) {
				if m.Path == "github.com/net-porter/net-porter" {
					continue
				}
				if !strings.Contains(copyright, "\nFiles: "+m.Path+"@"+m.Version+"/*\n") {
					t.Errorf("the licence of %s %s in %s is missing", m.Path, m.Version, path)
				}
				if !strings.Contains(bom, "\n"+m.Path+" "+m.Version+" ") {
					t.Errorf("the SBOM does not know %s %s in %s", m.Path, m.Version, path)
				}
			}
			program, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(program)
			if want := "./" + arch + strings.TrimPrefix(path, root) + " " + hex.EncodeToString(sum[:]); !strings.Contains(bom, want) {
				t.Errorf("the SBOM does not have %s", want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if programs != 20 { // the daemon, the plugin and eighteen of CNI's
			t.Errorf("%d programs are shipped for %s", programs, arch)
		}
		checkCopyright(t, copyright)
	}
	if !strings.Contains(bom, "net-porter "+version+" MIT\n") || !strings.Contains(bom, "\nstdlib 1.") {
		t.Errorf("the SBOM does not name net-porter and Go:\n%s", bom)
	}
	if strings.Contains(bom, " \n") || strings.Contains(bom, "NOASSERTION\n") {
		t.Errorf("the SBOM has something without a licence:\n%s", bom)
	}
}

// checkCopyright looks whether each licence that is named has its text.
func checkCopyright(t *testing.T, copyright string) {
	t.Helper()
	var named, texts []string
	for _, paragraph := range strings.Split(copyright, "\n\n") {
		for line := range strings.Lines(paragraph) {
			if names, ok := strings.CutPrefix(line, "License: "); ok && strings.HasPrefix(paragraph, "Files: ") {
				named = append(named, strings.Split(strings.TrimSpace(names), " and ")...)
			} else if ok {
				texts = append(texts, strings.TrimSpace(names))
			}
		}
	}
	slices.Sort(named)
	slices.Sort(texts)
	if named = slices.Compact(named); len(texts) < 5 || !slices.Equal(named, texts) {
		t.Errorf("licences %s have texts %s", named, texts)
	}
}

// The tarball is for machines without a package manager that we know.
func TestTarball(t *testing.T) {
	t.Parallel()
	made := released(t)
	for _, arch := range []string{"amd64", "arm64"} {
		dir := t.TempDir()
		name := "net-porter-" + version + "-linux-" + arch
		must(t, dir, "tar", "-xzf", filepath.Join(made.dist(), name+".tar.gz"))
		got, want := listing(t, filepath.Join(dir, name)), listing(t, made.root(arch))
		if text := lines(got, want) + lines(want, got); text != "" {
			t.Errorf("%s differs from what is installed:\n%s", name, text)
		}
		if _, ok := got["/INSTALL.md"]; !ok {
			t.Errorf("%s does not say what to do with it", name)
		}
	}
}
