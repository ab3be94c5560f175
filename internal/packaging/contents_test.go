package packaging

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// listing is what is in a folder: by path, type and mode, owner and size.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		owner, size := info.Sys().(*syscall.Stat_t), info.Size()
		if info.IsDir() {
			size = 0
		}
		list[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%s %d:%d %d", info.Mode(), owner.Uid, owner.Gid, size)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// theTools are folders in which package managers keep their own.
func theTools(path string) bool {
	return slices.ContainsFunc([]string{"/var/lib/dpkg", "/var/lib/rpm", "/var/lib/pacman", "/var/log", "/calls", "/dev/null"}, func(own string) bool {
		return strings.HasPrefix(path, own)
	})
}

// added is what is in a root and was not there before, but for the tools' own.
func added(before, after map[string]string) map[string]string {
	list := maps.Clone(after)
	maps.DeleteFunc(list, func(path, _ string) bool { _, was := before[path]; return was || theTools(path) })
	return list
}

// wanted is what make install lays out, with the few differences between formats.
func wanted(t *testing.T, made trees, f format, arch string) map[string]string {
	want := listing(t, made.root(arch))
	delete(want, "/INSTALL.md") // of the tarball
	put := func(path string, like string) {
		info, err := os.Stat(filepath.Join(made.one, like))
		if err != nil {
			t.Fatal(err)
		}
		want[path] = fmt.Sprintf("-rw-r--r-- 0:0 %d", info.Size())
		for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
			want[dir] = "drwxr-xr-x 0:0 0"
		}
	}
	if f.name != "deb" {
		put("/usr/share/licenses/net-porter/LICENSE", "LICENSE")
		put("/usr/share/licenses/net-porter/copyright", "dist/work/"+arch+"/bin/copyright")
		delete(want, "/usr/share/doc/net-porter/copyright")
		return want
	}
	put("/usr/share/doc/net-porter/changelog.Debian.gz", "dist/work/"+arch+"/changelog.Debian.gz")
	put("/usr/share/lintian/overrides/net-porter", "contrib/packaging/deb/lintian-overrides")
	const zsh, debian = "/usr/share/zsh/site-functions", "/usr/share/zsh/vendor-completions"
	for path, what := range want {
		if strings.HasPrefix(path, zsh) {
			delete(want, path)
			want[debian+strings.TrimPrefix(path, zsh)] = what
		}
	}
	return want
}

func TestPackagesHoldWhatIsInstalled(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, made trees, f format) {
		for arch, verb := range map[string]string{"amd64": "install", "arm64": "foreign"} {
			r := newCleanRoot(t, f)
			before := listing(t, r.dir)
			r.do(verb, filepath.Join(made.dist(), f.file[arch]))
			got, want := added(before, listing(t, r.dir)), wanted(t, made, f, arch)
			for path := range before {
				delete(want, path)
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s: installed is\n%s\nand make install makes\n%s", arch, lines(got, want), lines(want, got))
			}
			for path, what := range got {
				if mode := strings.Fields(what)[0]; strings.ContainsAny(mode, "stugL") || mode[len(mode)-2] == 'w' || mode[len(mode)-5] == 'w' {
					t.Errorf("%s: %s has mode %s", arch, path, mode)
				}
				if what[0] == '-' {
					checkNamesNoPlace(t, path, filepath.Join(r.dir, path))
				}
				if strings.HasPrefix(what, "-rwx") {
					checkProgram(t, arch, path, filepath.Join(r.dir, path))
				}
			}
		}
	})
}

// lines is what one list has and the other has not so.
func lines(list, other map[string]string) string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(list)) {
		if list[path] != other[path] {
			fmt.Fprintf(&b, "%s %s\n", path, list[path])
		}
	}
	return b.String()
}

// checkProgram looks whether a program runs on its architecture without anything else, says
// what it was built from, and nothing of where.
func checkProgram(t *testing.T, arch, path, file string) {
	t.Helper()
	program, err := elf.Open(file)
	if err != nil {
		t.Errorf("%s is no program: %v", path, err)
		return
	}
	defer program.Close()
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; program.Machine != want {
		t.Errorf("%s of %s is for %s", path, arch, program.Machine)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s of %s is not static", path, arch)
		}
	}
	build, err := buildinfo.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(build.Main.Path, "github.com/net-porter/") && build.Main.Version != "v"+version {
		t.Errorf("%s is %s by its build information, not v%s", path, build.Main.Version, version)
	}
}

// checkNamesNoPlace looks whether a file tells where it was built.
func checkNamesNoPlace(t *testing.T, path, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{scratch, moduleCache()} {
		if bytes.Contains(data, []byte(place)) {
			t.Errorf("%s names %s", path, place)
		}
	}
}

var moduleCache = sync.OnceValue(func() string {
	out, err := run(".", nil, "go", "env", "GOMODCACHE")
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(out)
})

func TestProgramsSayTheirVersion(t *testing.T) {
	t.Parallel()
	made := released(t)
	if said := must(t, made.one, filepath.Join(made.root("amd64"), "usr/bin/net-porter"), "version"); !strings.Contains(said, version+" ") && strings.TrimSpace(said) != version {
		t.Errorf("net-porter version says %q, not %s", said, version)
	}
	cmd := `echo | "$0" info`
	if said := must(t, made.one, "sh", "-c", cmd, filepath.Join(made.root("amd64"), "usr/lib/netavark/net-porter")); !strings.Contains(said, `"`+version+`"`) {
		t.Errorf("the plugin says %q, not %s", said, version)
	}
}

func TestSameBytesWhereverBuilt(t *testing.T) {
	t.Parallel()
	made := released(t)
	must(t, made.dist(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	sums := make([]string, 2)
	for i, tree := range []string{made.one, made.other} {
		data, err := os.ReadFile(filepath.Join(tree, "dist/net-porter-"+version, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = string(data)
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds differ:\n%s\n%s", sums[0], sums[1])
	}
	entries, err := os.ReadDir(made.dist())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "SHA256SUMS" && !strings.Contains(sums[0], "  "+e.Name()+"\n") {
			t.Errorf("%s has no checksum", e.Name())
		}
	}
	if n := strings.Count(sums[0], "\n"); n != 9 { // three formats and a tarball for each of two, and an SBOM
		t.Errorf("a release has %d files:\n%s", n, sums[0])
	}
}
