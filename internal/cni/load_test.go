package cni_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/cni"
)

func write(t *testing.T, file, content string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoadTakesEverySuffix(t *testing.T) {
	for _, suffix := range []string{".conflist", ".conf", ".json"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "lan"+suffix), seed)
		n, err := cni.Load(dir, "lan")
		if err != nil || n.Name != "lan" {
			t.Errorf("%s: %v", suffix, err)
		}
	}
}

func TestLoadFollowsTheAdministratorsLinks(t *testing.T) {
	dir := t.TempDir()
	real := write(t, filepath.Join(t.TempDir(), "elsewhere"), seed)
	if err := os.Symlink(real, filepath.Join(dir, "lan.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := cni.Load(dir, "lan"); err != nil {
		t.Error(err)
	}
}

func TestLoadWithoutAFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(filepath.Dir(dir), "outside.json"), seed)
	for _, resource := range []string{"lan", "../outside", "", "..", "a\x00b"} {
		if _, err := cni.Load(dir, resource); !errors.Is(err, cni.ErrNotFound) {
			t.Errorf("resource %q: %v", resource, err)
		}
	}
	if _, err := cni.Load(filepath.Join(dir, "nowhere"), "lan"); !errors.Is(err, cni.ErrNotFound) {
		t.Errorf("no folder: %v", err)
	}
}

func TestLoadNamesFileAndFault(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string)
		says []string
	}{
		"two files": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "lan.json"), seed)
			write(t, filepath.Join(dir, "lan.conflist"), seed)
		}, []string{"lan.json", "lan.conflist", "keep one"}},
		"syntax": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "lan.json"), "{\n\"a\": 1 2}")
		}, []string{"/lan.json", "line 2, column 8"}},
		"too large": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "lan.json"), strings.Repeat(" ", 1<<20)+seed)
		}, []string{"/lan.json", "larger than 1048576 bytes"}},
		"folder": {func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "lan.json"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"/lan.json", "regular file"}},
		"FIFO": {func(t *testing.T, dir string) {
			if err := unix.Mkfifo(filepath.Join(dir, "lan.json"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, []string{"/lan.json", "regular file"}},
		"link to nowhere": {func(t *testing.T, dir string) {
			if err := os.Symlink("nowhere", filepath.Join(dir, "lan.json")); err != nil {
				t.Fatal(err)
			}
		}, []string{"/lan.json", "no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(t, dir)
			_, err := cni.Load(dir, "lan")
			if err == nil || errors.Is(err, cni.ErrNotFound) {
				t.Fatalf("got %v", err)
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("error %q does not say %q", err, says)
				}
			}
		})
	}
}
