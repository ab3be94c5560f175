package packaging

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// format is a kind of package and the tool that its distributions install it with.
type format struct {
	name string
	file map[string]string // by architecture: names by the format's own convention
	// verbs are the tool's arguments by what it shall do; the package or its name follows. A
	// foreign package is of another architecture, whose scripts could not run.
	verbs map[string][]string
}

var formats = []format{
	{
		name: "deb",
		file: map[string]string{"amd64": "net-porter_1.2.3-1_amd64.deb", "arm64": "net-porter_1.2.3-1_arm64.deb"},
		verbs: map[string][]string{
			"install": {"dpkg", "--root=ROOT", "--force-depends", "-i"}, "foreign": {"dpkg", "--root=ROOT", "--force-depends,architecture", "--unpack"},
			"upgrade": {"dpkg", "--root=ROOT", "--force-depends", "-i"},
			"remove":  {"dpkg", "--root=ROOT", "-r"}, "purge": {"dpkg", "--root=ROOT", "-P"},
		},
	},
	{
		name: "rpm",
		file: map[string]string{"amd64": "net-porter-1.2.3-1.x86_64.rpm", "arm64": "net-porter-1.2.3-1.aarch64.rpm"},
		verbs: map[string][]string{
			"install": {"rpm", "--root=ROOT", "--dbpath=/var/lib/rpm", "-i", "--nodeps"}, "foreign": {"rpm", "--root=ROOT", "--dbpath=/var/lib/rpm", "-i", "--nodeps", "--ignorearch", "--noscripts"},
			"upgrade": {"rpm", "--root=ROOT", "--dbpath=/var/lib/rpm", "-U", "--nodeps", "--replacepkgs"},
			"remove":  {"rpm", "--root=ROOT", "--dbpath=/var/lib/rpm", "-e"},
		},
	},
	{
		name: "archlinux",
		file: map[string]string{"amd64": "net-porter-1.2.3-1-x86_64.pkg.tar.zst", "arm64": "net-porter-1.2.3-1-aarch64.pkg.tar.zst"},
		verbs: map[string][]string{
			"install": {"pacman", "--root=ROOT", "--dbpath=ROOT/var/lib/pacman", "--config=ROOT/../pacman.conf", "--noconfirm", "-Udd"},
			"foreign": {"pacman", "--root=ROOT", "--dbpath=ROOT/var/lib/pacman", "--config=ROOT/../pacman.conf", "--noconfirm", "--arch=aarch64", "--noscriptlet", "-Udd"},
			"upgrade": {"pacman", "--root=ROOT", "--dbpath=ROOT/var/lib/pacman", "--config=ROOT/../pacman.conf", "--noconfirm", "-Udd"},
			"remove":  {"pacman", "--root=ROOT", "--dbpath=ROOT/var/lib/pacman", "--config=ROOT/../pacman.conf", "--noconfirm", "-R"},
		},
	},
}

// each runs a test of every format.
func each(t *testing.T, test func(t *testing.T, made trees, f format)) {
	made := released(t)
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) { t.Parallel(); test(t, made, f) })
	}
}

// cleanRoot is a root of a system where a package can be installed: a shell, package
// databases without a package, and stand-ins.
type cleanRoot struct {
	t   *testing.T
	f   format
	dir string
}

// standIn notes how it was called. As systemctl it answers is-active by a file's being there.
const standIn = `#!/bin/sh
echo "${0##*/} $*" >>/calls
case "${0##*/} $*" in
  *is-active*) test -e /active ;;
esac
`

func newCleanRoot(t *testing.T, f format) *cleanRoot {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	for _, d := range []string{"usr/bin", "etc", "run", "tmp", "var/tmp", "var/log", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/rpm", "var/lib/pacman"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := &cleanRoot{t, f, dir}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("busybox-static is missing, see scripts/install-deps: %v", err)
	}
	r.write("usr/bin/busybox", string(busybox), 0o755)
	for _, name := range []string{"sh", "rm", "sed", "wc", "timeout", "test"} {
		r.link("busybox", "usr/bin/"+name)
	}
	for _, name := range []string{"systemctl", "systemd-sysusers", "systemd-tmpfiles", "journalctl", "getent", "groupdel"} {
		r.write("usr/bin/"+name, standIn, 0o755)
	}
	r.link("usr/bin", "bin")
	r.link("usr/bin", "sbin")
	r.write("var/lib/dpkg/status", "", 0o644)
	r.write("calls", "", 0o644)
	r.write("dev/null", "", 0o644) // a plain file will do
	r.write("../pacman.conf", "[options]\nArchitecture = x86_64\nSigLevel = Never\nLocalFileSigLevel = Never\n", 0o644)
	return r
}

func (r *cleanRoot) link(to, at string) {
	r.t.Helper()
	if err := os.Symlink(to, filepath.Join(r.dir, at)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *cleanRoot) write(path, text string, mode os.FileMode) {
	r.t.Helper()
	path = filepath.Join(r.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		r.t.Fatal(err)
	}
}

func (r *cleanRoot) has(path string) bool {
	_, err := os.Lstat(filepath.Join(r.dir, path))
	return err == nil
}

// boot has the scripts see systemd, and a daemon that runs or not.
func (r *cleanRoot) boot(active bool) {
	r.t.Helper()
	r.write("run/systemd/system/.keep", "", 0o644)
	if !r.has("proc") { // where the root of process 1 is this one
		r.write("proc/1/.keep", "", 0o644)
		r.link("/", "proc/1/root")
	}
	if active {
		r.write("active", "", 0o644)
	}
}

// do has the package's tool do something, in a namespace of its own: rules of nftables are
// the kernel's, whatever the root. It returns what was said, and what the scripts called.
func (r *cleanRoot) do(verb, what string) (said string, calls []string) {
	r.t.Helper()
	r.write("calls", "", 0o644)
	args := slices.Clone(r.f.verbs[verb])
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "ROOT", r.dir)
	}
	said = must(r.t, r.dir, "unshare", append([]string{"--net", "--mount", "--"}, append(args, what)...)...)
	noted, err := os.ReadFile(filepath.Join(r.dir, "calls"))
	if err != nil {
		r.t.Fatal(err)
	}
	return said, strings.FieldsFunc(string(noted), func(c rune) bool { return c == '\n' })
}
