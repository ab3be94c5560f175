package testlab

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// CNIPlugins returns a folder with the CNI plugins that `make cni` built into
// bin/cni of the repository, and fails the test if they are not there. The daemon
// runs plugins only out of folders that nobody but root can write to, which a
// developer's own checkout is not: then the folder is a copy of root's.
func CNIPlugins(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(repository(t), "bin", "cni")
	if _, err := os.Stat(filepath.Join(dir, "macvlan")); err != nil {
		t.Fatalf("the CNI plugins are not built, run `make cni` first: %v", err)
	}
	if onlyOurs(t, dir) {
		return dir
	}
	// MkdirTemp, unlike t.TempDir, makes a folder that others cannot write to whatever the umask.
	copied, err := os.MkdirTemp("", "cni-plugins-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(copied) })
	plugins, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, plugin := range plugins {
		copyPlugin(t, filepath.Join(dir, plugin.Name()), filepath.Join(copied, plugin.Name()))
	}
	return copied
}

// repository finds the root of the module: tests run in their package's folder.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the folder that the test runs in")
		}
		dir = filepath.Dir(dir)
	}
}

// onlyOurs reports whether root and the test's own user alone can change what is in
// a folder: by its files, itself, and the folders above it.
func onlyOurs(t testing.TB, dir string) bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for above := dir; ; above = filepath.Dir(above) {
		paths = append(paths, above)
		if above == filepath.Dir(above) {
			break
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t).Uid
		if owner != 0 && int(owner) != os.Geteuid() || info.Mode()&fs.ModeSticky == 0 && info.Mode().Perm()&0o022 != 0 {
			return false
		}
	}
	return true
}

// copyPlugin copies a program. No process is started meanwhile: one that had the copy open
// for writing, if only until its exec, would keep others from running it (ETXTBSY).
func copyPlugin(t testing.TB, from, to string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	source, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(target, source); err != nil {
		t.Fatal(err)
	}
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
	// The umask may have been a strange one.
	if err := os.Chmod(to, 0o755); err != nil {
		t.Fatal(err)
	}
}
