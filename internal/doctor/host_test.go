package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/nss"
)

// fake is a host in a folder, whose programs say what the map has.
func fake(t *testing.T, files map[string]string, says map[string]string) *examination {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(root+path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	e := &examination{o: Options{Socket: "/run/net-porter.sock"}, names: nss.New()}
	e.host = host{root: root, release: "6.12.48+deb13-amd64", run: func(_ context.Context, path string, args ...string) (string, error) {
		said, ok := says[strings.TrimPrefix(path, root)+" "+strings.Join(args, " ")]
		if !ok {
			return "", errors.New("no such program")
		}
		return said, nil
	}}
	e.subject = subject{User: nss.User{Name: "alice", UID: 1000, GID: 1000}, name: "alice", home: "/home/alice"}
	return e
}

// want has exactly one finding of a result and an id, with some words.
func want(t *testing.T, e *examination, result Result, id string, words ...string) {
	t.Helper()
	found := 0
	for _, f := range e.report.Findings {
		if f.ID != id || f.Result != result {
			continue
		}
		found++
		for _, word := range words {
			if !strings.Contains(f.Text+" "+f.Remedy, word) {
				t.Errorf("%s: %q is not in %q, %q", id, word, f.Text, f.Remedy)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d findings %s of %s in %+v", found, result, id, e.report.Findings)
	}
}

func TestKernel(t *testing.T) {
	for release, result := range map[string]Result{
		"5.10.0-8-amd64": Problem, "4.19.0": Problem, "5.11.0": OK, "5.14.0-503.el9": OK, "6.18": OK, "odd": Unknown, "6.x": Unknown,
	} {
		e := fake(t, map[string]string{"/proc/sys/user/max_user_namespaces": "0\n"}, nil)
		e.host.release = release
		e.kernel()
		want(t, e, result, "kernel.version", release)
		want(t, e, Problem, "kernel.userns", "max_user_namespaces")
	}
}

// Ubuntu's AppArmor is in the way of a podman that it has no profile for.
func TestAppArmor(t *testing.T) {
	const knob = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	e := fake(t, map[string]string{knob: "1\n"}, nil)
	e.kernel()
	want(t, e, Warning, "kernel.apparmor", "/etc/apparmor.d/podman")
	for _, files := range []map[string]string{{knob: "1\n", "/etc/apparmor.d/podman": "profile"}, {knob: "0\n"}, nil} {
		e := fake(t, files, nil)
		e.kernel()
		if n := e.report.Count(Warning); n > 0 {
			t.Errorf("%v: %+v", files, e.report.Findings)
		}
	}
}

func TestPodman(t *testing.T) {
	const old, current = "/usr/lib/podman/netavark", "/usr/libexec/podman/netavark"
	e := fake(t, map[string]string{"/usr/bin/podman": "#!", old: "#!", current: "not a program"}, map[string]string{
		"/usr/bin/podman --version": "podman version 4.3.1\n", old + " --version": "netavark 1.4.0",
	})
	t.Setenv("PATH", "")
	e.podman(context.Background(), e.containersConf())
	want(t, e, Problem, "podman.podman", "4.3.1", "4.5 is the first")
	want(t, e, Problem, "podman.netavark", "1.4.0", old)

	e = fake(t, map[string]string{"/home/alice/.local/share/containers/storage/defaultNetworkBackend": "cni"}, nil)
	e.podman(context.Background(), e.containersConf())
	want(t, e, Problem, "podman.backend", "keeps to them")

	e = fake(t, map[string]string{
		"/etc/containers/containers.conf":                         "[network]\nnetwork_backend = \"netavark\"\n",
		"/home/alice/.config/containers/containers.conf.d/x.conf": "[network]\n  network_backend=\"cni\"\n",
	}, nil)
	e.podman(context.Background(), e.containersConf())
	want(t, e, Problem, "podman.podman", "there is no podman")
	want(t, e, Problem, "podman.backend", "cni")
}

func TestPlugin(t *testing.T) {
	const packaged, own = "/usr/lib/netavark/net-porter", "/usr/local/libexec/netavark/net-porter"
	says := map[string]string{
		packaged + " info": `{"version":"1.2.3","api_version":"1.0.0"}`, own + " info": `{"version":"1.2.2"}`, "/opt/p/net-porter info": "hello\x1b[2J",
	}
	examine := func(files map[string]string) *examination {
		e := fake(t, files, says)
		e.version = "1.2.3"
		e.plugin(context.Background(), e.containersConf())
		return e
	}
	want(t, examine(map[string]string{packaged: "#!"}), OK, "podman.plugin", "1.2.3")
	want(t, examine(map[string]string{packaged: "#!", own: "#!"}), Warning, "podman.plugin", own, "1.2.2")
	want(t, examine(map[string]string{packaged: "no x bit"}), Problem, "podman.plugin", "finds no plugin")
	e := examine(map[string]string{
		packaged: "#!", "/opt/p/net-porter": "#!",
		"/home/alice/.config/containers/containers.conf": "[network]\nnetavark_plugin_dirs = [\n  \"/opt/p\",\n]\n",
	})
	want(t, e, Problem, "podman.plugin", "/opt/p/net-porter is not net-porter's plugin")
	for _, f := range e.report.Findings {
		if strings.Contains(f.Text, "\x1b") {
			t.Errorf("a terminal would obey %q", f.Text)
		}
	}
}

func TestNetworks(t *testing.T) {
	const dir = "/home/alice/.local/share/containers/storage/networks/"
	e := fake(t, map[string]string{
		dir + "a.json": `{"name":"good","driver":"net-porter","options":{"net_porter_resource":"lan"}}`,
		dir + "b.json": `{"name":"lan","driver":"net-porter"}`,
		dir + "c.json": `{"name":"labelled","driver":"net-porter","labels":{"net-porter.resource":"lan"}}`,
		dir + "d.json": `{"name":"other","driver":"net-porter","options":{"resource":"gone"}}`,
		dir + "e.json": `{"name":"astray","driver":"net-porter","options":{"resource":"lan","socket":"/run/other.sock"}}`,
		dir + "f.json": `{"name":"bridged","driver":"bridge"}`,
		dir + "g.json": `{`,
		dir + "h.json": `{"name":"two","driver":"net-porter","options":{"resource":"lan","net_porter_resource":"wan"}}`,
		dir + "i.json": `{"name":"x; reboot \u009b2J","driver":"net-porter","options":{"resource":"gone"}}`,
	}, nil)
	e.told, e.offered = true, []offer{{Name: "lan"}}
	e.networks()
	if !slices.ContainsFunc(e.report.Findings, func(f Finding) bool {
		return f.ID == "networks.resource" && strings.Contains(f.Text, `"other"`) && strings.Contains(f.Text, `"gone"`)
	}) {
		t.Errorf("a resource that there is not is not told of: %+v", e.report.Findings)
	}
	want(t, e, Problem, "networks.socket", `"astray"`, `"/run/other.sock"`)
	want(t, e, Problem, "networks.options", `"two"`, "differ")
	for _, f := range e.report.Findings {
		if strings.Contains(f.Remedy, "reboot") || strings.ContainsRune(f.Text+f.Remedy, 0x9b) {
			t.Errorf("a network's name became a command, or an order to the terminal: %+v", f)
		}
	}
	if n := e.report.Count(OK); n != 3 || len(e.report.Findings) != 7 {
		t.Errorf("%d are right in %+v", n, e.report.Findings)
	}
	e = fake(t, nil, nil)
	e.networks()
	want(t, e, Warning, "networks.list", "podman network create")

	// Without a socket of its own a network asks where the plugin does by default.
	e = fake(t, map[string]string{dir + "a.json": `{"name":"good","driver":"net-porter","options":{"resource":"lan"}}`}, nil)
	e.o.Socket = "/run/elsewhere.sock"
	e.networks()
	want(t, e, Problem, "networks.socket", "/run/net-porter.sock", "net_porter_socket=/run/elsewhere.sock")
}

func TestSession(t *testing.T) {
	e := fake(t, map[string]string{
		"/etc/subuid": "bob:100000:65536\n1000:165536:65536\n", "/etc/subgid": "bob:100000:65536\nalicia:1:1\n", "/var/lib/systemd/linger/bob": "",
	}, nil)
	e.session()
	want(t, e, OK, "user.subuid")
	want(t, e, Warning, "user.subgid", "usermod")
	want(t, e, Warning, "user.linger", "loginctl enable-linger alice")
}

// Somebody who came by su has no runtime folder; one who is looked at by root is not asked.
func TestSessionOfLogin(t *testing.T) {
	for _, c := range []struct {
		runtime string
		self    bool
		found   int
	}{{"", true, 1}, {"/run/user/1000", true, 1}, {"/run/user/1001", true, 0}, {"", false, 0}} {
		e := fake(t, map[string]string{"/run/user/1001/bus": "", "/etc/subuid": "alice:1:1", "/etc/subgid": "alice:1:1", "/var/lib/systemd/linger/alice": ""}, nil)
		e.subject.runtime, e.subject.self = c.runtime, c.self
		e.session()
		if n := e.report.Count(Warning); n != c.found {
			t.Errorf("%+v: %+v", c, e.report.Findings)
		}
	}
}

// Lists of several files come to what podman makes of them.
func TestDirsOf(t *testing.T) {
	for _, c := range []struct {
		texts []string
		want  []string
	}{
		{nil, []string{"/default"}},
		{[]string{`#netavark_plugin_dirs = ["/x"]`, "other = 1"}, []string{"/default"}},
		{[]string{`netavark_plugin_dirs = ["/a", "/b"]`, "netavark_plugin_dirs=[\n\"/c\",\n]"}, []string{"/c"}},
		{[]string{`netavark_plugin_dirs = ["/a", {append=true}]`, `netavark_plugin_dirs = ["/b"]`}, []string{"/default", "/a", "/b"}},
		{[]string{`netavark_plugin_dirs = ["/a", { append = true }]`, `netavark_plugin_dirs = ["/b", {append=false}]`}, []string{"/b"}},
		{[]string{`netavark_plugin_dirs = []`}, nil},
	} {
		if got := dirsOf(c.texts, pluginSetting, []string{"/default"}); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.texts, got, c.want)
		}
	}
}

// A user manager from before the user was in the group starts Quadlets that cannot connect.
func TestManagers(t *testing.T) {
	e := fake(t, map[string]string{
		"/proc/10/status": "Name:\tsystemd\nUid:\t1001\t1001\t1001\t1001\nGroups:\t27 \n",
		"/proc/12/status": "Name:\tsystemd\nUid:\t1000\t1000\t1000\t1000\nGid:\t977\t977\t977\t977\nGroups:\t \n",
		"/proc/11/status": "Name:\tsystemd\nUid:\t1000\t1000\t1000\t1000\nGroups:\t27 977 \n",
	}, nil)
	e.managers(977, "net-porter")
	if len(e.report.Findings) > 0 {
		t.Errorf("nothing is wrong, and found was %+v", e.report.Findings)
	}
	e.managers(978, "net-porter")
	want(t, e, Problem, "access.manager", "user@1000.service")
}

// A program that hangs or never stops talking is no reason to hang or to run out of memory.
func TestProgramsAreBounded(t *testing.T) {
	out, err := runProgram(context.Background(), "/bin/sh", "-c", "yes | head -c 1000000; echo no >&2; exit 3")
	if len(out) != maxOutput || err == nil || !strings.Contains(err.Error(), `"no"`) {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := runProgram(ctx, "/bin/sh", "-c", "sleep 1000 & wait"); err == nil {
		t.Error("a program was waited for")
	}
}
