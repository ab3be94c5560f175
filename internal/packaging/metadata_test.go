package packaging

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestDependencies(t *testing.T) {
	t.Parallel()
	made := released(t)
	path := func(f format) string { return filepath.Join(made.dist(), f.file["amd64"]) }
	deb, rpm, arch := path(formats[0]), path(formats[1]), path(formats[2])
	for _, c := range []struct {
		want string
		ask  []string
	}{
		{"systemd | systemd-standalone-sysusers | systemd-sysusers", []string{"dpkg-deb", "-f", deb, "Depends"}},
		{"podman (>= 4.5), netavark (>= 1.6)", []string{"dpkg-deb", "-f", deb, "Recommends"}},
		{"iptables | nftables", []string{"dpkg-deb", "-f", deb, "Suggests"}},
		{"", []string{"dpkg-deb", "-f", deb, "Conflicts", "Replaces", "Provides", "Pre-Depends"}},
		{"1.2.3-1", []string{"dpkg-deb", "-f", deb, "Version"}},
		{"/bin/sh systemd", []string{"rpm", "-qp", "--qf", "[%{REQUIRENAME}%{REQUIREFLAGS:depflags}%{REQUIREVERSION} ]", rpm}},
		{"podman >= 4.5 netavark >= 1.6", []string{"rpm", "-qp", "--recommends", rpm}},
		{"net-porter 1.2.3 1 MIT https://github.com/net-porter/net-porter localhost", []string{"rpm", "-qp", "--qf", "%{NAME} %{VERSION} %{RELEASE} %{LICENSE} %{URL} %{BUILDHOST}", rpm}},
	} {
		out := strings.Fields(must(t, ".", c.ask[0], c.ask[1:]...))
		out = slices.DeleteFunc(out, func(w string) bool { return strings.HasPrefix(w, "rpmlib(") })
		if got := strings.Join(out, " "); got != c.want {
			t.Errorf("%s: %q, not %q", strings.Join(c.ask, " "), got, c.want)
		}
	}
	info := must(t, ".", "pacman", "-Qip", "--config=/dev/null", "--dbpath="+t.TempDir(), arch)
	for _, want := range []string{"Version:1.2.3-1", "DependsOn:systemdpodman>=4.5netavark>=1.6", "Licenses:MIT", "Architecture:x86_64", "InstallScript:Yes"} {
		if !strings.Contains(strings.Join(strings.Fields(info), ""), want) {
			t.Errorf("the archlinux package does not say %s:\n%s", want, info)
		}
	}
}

func TestLintian(t *testing.T) {
	t.Parallel()
	made := released(t)
	out := must(t, made.dist(), "lintian", "--allow-root", "--fail-on=error,warning", formats[0].file["amd64"])
	if strings.TrimSpace(out) != "" {
		t.Errorf("lintian says:\n%s", out)
	}
}

// An upgrade has to be one to each of the tools.
func TestVersionsSort(t *testing.T) {
	t.Parallel()
	testlab.RequireRoot(t) // so that the tools are installed
	versions := []string{
		"0.0.0+git20260102030405.0123456789ab", "0.0.0+git20261102030405.0023456789ab", "0.0.0+git20261102030405.0023456789ab.dirty",
		"0.1.0-rc.1", "0.1.0-rc.1+git20261202030405.0123456789ab", "0.1.0-rc.2", "0.1.0-rc.10", "0.1.0", "0.1.0+git20270101000000.00aaaaaaaaaa", "0.1.1-rc.1", "0.1.1", "0.2.0", "0.10.0", "1.0.0",
	}
	compare := map[string]func(a, b string) string{
		"deb": func(a, b string) string { return must(t, ".", "dpkg", "--compare-versions", a, "lt", b) + "-1" },
		"rpm": func(a, b string) string {
			return must(t, ".", "rpm", "--eval", "%{lua: print(rpm.vercmp('"+a+"', '"+b+"'))}")
		},
		"archlinux": func(a, b string) string { return olderToPacman(t, a, b) },
	}
	for format, before := range compare {
		last := ""
		for _, v := range versions {
			v = strings.TrimSpace(must(t, "../..", "scripts/version", format, v)) + "-1"
			if last != "" && strings.TrimSpace(before(last, v)) != "-1" {
				t.Errorf("%s: %s is not before %s", format, last, v)
			}
			last = v
		}
	}
}

// olderToPacman asks pacman, as vercmp is not in Debian, whether a package of one version is
// older than another: "-1" if so.
func olderToPacman(t *testing.T, a, b string) string {
	t.Helper()
	db := t.TempDir()
	desc := filepath.Join(db, "local/net-porter-"+a, "desc")
	if err := os.MkdirAll(filepath.Dir(desc), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(desc, []byte("%NAME%\nnet-porter\n\n%VERSION%\n"+a+"\n\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(db, "local/ALPM_DB_VERSION"), []byte("9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run(".", nil, "pacman", "--config=/dev/null", "--dbpath="+db, "-T", "net-porter>="+a, "net-porter<"+b); err != nil {
		return out + err.Error()
	}
	return "-1"
}

func TestVersionOfATree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(want string) {
		t.Helper()
		if got := strings.TrimSpace(must(t, dir, "scripts/version")); !strings.HasPrefix(got, want) || want == "" {
			t.Errorf("the version is %q, not %q", got, want)
		}
	}
	commit := func() {
		t.Helper()
		must(t, dir, "sh", "-c", `git add -A && git -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m c`)
	}
	script, err := os.ReadFile("../../scripts/version")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "scripts/version"), script, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("without git", func(t *testing.T) { version("unknown") })
	must(t, dir, "git", "init", "-q")
	commit()
	version("0.0.0+git20")
	must(t, dir, "git", "tag", "v1.2.3-rc.1")
	version("1.2.3-rc.1")
	commit()
	version("1.2.3-rc.1+git20")
	must(t, dir, "git", "tag", "v1.2.3")
	must(t, dir, "git", "tag", "v1.2.3-rc.2")
	version("1.2.3")
	if err := os.WriteFile(filepath.Join(dir, "scripts/version"), append(script, '\n'), 0o755); err != nil {
		t.Fatal(err)
	}
	version("1.2.3+git20")
	if got := must(t, dir, "scripts/version"); !strings.HasSuffix(got, ".dirty\n") {
		t.Errorf("a tree with changes is %s", got)
	}
}
