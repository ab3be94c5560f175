package packaging

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	ownConfig = `{"resources": [{"name": "lan", "allow_users": ["root"]}]}` + "\n"
	conflist  = `{"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": "macvlan", "master": "lo", "ipam": {"type": "dhcp"}}]}` + "\n"
)

// installed is a root with the package, and with the administrator's files.
func installed(t *testing.T, made trees, f format) (r *cleanRoot, file string) {
	t.Helper()
	r, file = newCleanRoot(t, f), filepath.Join(made.dist(), f.file["amd64"])
	r.do("install", file)
	r.write("etc/net-porter/config.json", ownConfig, 0o600)
	r.write("etc/net-porter/cni.d/lan.json", conflist, 0o600)
	r.write("var/lib/net-porter/attachments/1.json", "{}", 0o600)
	return r, file
}

// called tells which call has words in it.
func called(calls []string, words string) bool {
	return slices.ContainsFunc(calls, func(c string) bool { return strings.Contains(c, words) })
}

// ours are the lines of a tool's output that our scripts have written.
func ours(said string) []string {
	return slices.DeleteFunc(strings.Split(said, "\n"), func(line string) bool { return !strings.HasPrefix(line, "net-porter: ") })
}

// neither fails the test when a script has called what it must not.
func neither(t *testing.T, calls []string, words ...string) {
	t.Helper()
	for _, w := range words {
		if called(calls, w) {
			t.Errorf("a script has called %q: %s", w, strings.Join(calls, "; "))
		}
	}
}

func (r *cleanRoot) keepsConfiguration(when string) {
	r.t.Helper()
	for path, want := range map[string]string{"etc/net-porter/config.json": ownConfig, "etc/net-porter/cni.d/lan.json": conflist} {
		if got := must(r.t, r.dir, "cat", path); got != want {
			r.t.Errorf("%s %s is %q", when, path, got)
		}
	}
	if !r.has("var/lib/net-porter/attachments/1.json") {
		r.t.Errorf("%s the records of attachments are gone", when)
	}
}

func TestInstallStartsNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, made trees, f format) {
		for _, booted := range []bool{false, true} {
			r := newCleanRoot(t, f)
			if booted {
				r.boot(false)
			}
			said, calls := r.do("install", filepath.Join(made.dist(), f.file["amd64"]))
			for _, want := range []string{"systemd-sysusers net-porter.conf", "systemd-tmpfiles --create net-porter.conf", "journalctl --update-catalog"} {
				if !called(calls, want) {
					t.Errorf("no script has called %q: %s", want, strings.Join(calls, "; "))
				}
			}
			if called(calls, "systemctl daemon-reload") != booted {
				t.Errorf("with systemd %t the scripts call %s", booted, strings.Join(calls, "; "))
			}
			neither(t, calls, " start", "restart", "enable", "preset", "stop")
			if !strings.Contains(said, "systemctl enable --now net-porter.service") || !strings.Contains(said, "/etc/net-porter/config.json") {
				t.Errorf("what is to be done next is not said: %s", said)
			}
			if own := ours(said); len(own) != 2 {
				t.Errorf("it is not said in two lines: %s", said)
			}
		}
	})
}

// An image is built by root, on a machine whose systemd and kernel are not the image's: the
// first shows in /run where that is mounted, and the second always.
func TestAnImageIsNotItsMachine(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, made trees, f format) {
		r, file := installed(t, made, f)
		r.write("proc/1/root/etc/hostname", "the machine\n", 0o644)
		r.boot(true)
		r.write("usr/bin/net-porter", "#!/bin/sh\necho \"net-porter $*\" >>/calls\n", 0o755)
		_, calls := r.do("remove", "net-porter")
		neither(t, calls, "systemctl stop", "net-porter enforce")
		_, calls = r.do("install", file)
		neither(t, calls, "daemon-reload")
		_, calls = r.do("upgrade", file)
		neither(t, calls, "restart", "daemon-reload")
	})
}

func TestUpgradeStartsTheDaemonAnew(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, made trees, f format) {
		r, file := installed(t, made, f)
		r.boot(true)
		r.write("run/net-porter.sock", "", 0o660)
		said, calls := r.do("upgrade", file)
		if last := calls[len(calls)-1]; last != "systemctl try-restart net-porter.service" {
			t.Errorf("an upgrade calls %s at last", last)
		}
		if !called(calls, "systemctl daemon-reload") {
			t.Errorf("systemd is not told of the new units: %s", strings.Join(calls, "; "))
		}
		neither(t, calls, "net-porter.socket", "systemctl stop", "systemctl --quiet disable", "enable", "groupdel")
		if !r.has("run/net-porter.sock") {
			t.Error("an upgrade has removed the socket")
		}
		if len(ours(said)) > 0 {
			t.Errorf("an upgrade that nothing is to be done for says %s", said)
		}
		r.keepsConfiguration("after an upgrade")

		r.write("etc/net-porter/cni.d/lan.json", `{"cniVersion":`, 0o600) // of which the daemon says what is wrong, and starts
		said, calls = r.do("upgrade", file)
		if last := calls[len(calls)-1]; last != "systemctl try-restart net-porter.service" || len(ours(said)) > 0 {
			t.Errorf("with a broken conflist an upgrade calls %s at last, and says %s", last, said)
		}

		r.write("etc/net-porter/config.json", `{"resources": [,]}`, 0o600)
		said, calls = r.do("upgrade", file)
		neither(t, calls, "restart")
		if !strings.Contains(said, "config.json:1:") || !strings.Contains(said, "systemctl restart net-porter.service") {
			t.Errorf("a configuration that is wrong is not told of: %s", said)
		}
	})
}

func TestUpgradeOfADaemonThatDoesNotRun(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, made trees, f format) {
		r, file := installed(t, made, f)
		r.boot(false)
		_, calls := r.do("upgrade", file)
		neither(t, calls, "restart", " start", "enable")
	})
}

func TestRemovalLeavesNothingOfOurs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, made trees, f format) {
		r := newCleanRoot(t, f)
		r.boot(true)
		r.write("etc/.keep", "", 0o644)
		before := listing(t, r.dir)
		r.do("install", filepath.Join(made.dist(), f.file["amd64"]))
		r.write("run/net-porter.sock", "", 0o660)
		_, calls := r.do("remove", "net-porter")
		for _, want := range []string{"systemctl stop net-porter.socket net-porter.service", "systemctl --quiet disable net-porter.socket net-porter.service"} {
			if !called(calls, want) {
				t.Errorf("no script has called %q: %s", want, strings.Join(calls, "; "))
			}
		}
		if calls[len(calls)-1] != "systemctl reset-failed net-porter.socket net-porter.service" {
			t.Errorf("a removal calls at last %s", calls[len(calls)-1])
		}
		if f.name == "deb" {
			r.do("purge", "net-porter")
		}
		rest := added(before, listing(t, r.dir))
		maps.DeleteFunc(rest, func(path, what string) bool { // rpm leaves the system's to the system
			return f.name == "rpm" && what[0] == 'd' && !strings.Contains(path, "net-porter") && !strings.Contains(path, "netavark")
		})
		if len(rest) > 0 {
			t.Errorf("a removal leaves\n%s", lines(rest, nil))
		}
	})
}

func TestRemovalKeepsConfigurationAndAPurgeDoesNot(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, made trees, f format) {
		r, file := installed(t, made, f)
		r.do("remove", "net-porter")
		r.keepsConfiguration("after a removal")
		r.do("install", file)
		r.keepsConfiguration("after another install")
		if f.name != "deb" {
			return // nothing else has a purge
		}
		r.do("remove", "net-porter")
		r.write("elsewhere/leases", "", 0o600)
		r.link("/elsewhere", "var/lib/net-porter/link")
		_, calls := r.do("purge", "net-porter")
		for _, path := range []string{"etc/net-porter", "var/lib/net-porter"} {
			if r.has(path) {
				t.Errorf("a purge leaves %s", path)
			}
		}
		if !r.has("elsewhere/leases") {
			t.Error("a purge follows links")
		}
		if !called(calls, "groupdel net-porter") {
			t.Errorf("a purge leaves the group: %s", strings.Join(calls, "; "))
		}
	})
}

// An administrator may keep the folder elsewhere, as in a repository.
func TestPurgeLeavesWhatALinkLeadsTo(t *testing.T) {
	t.Parallel()
	made := released(t)
	r, _ := installed(t, made, formats[0])
	must(t, r.dir, "sh", "-c", "mv etc/net-porter kept && ln -s /kept etc/net-porter")
	r.do("remove", "net-porter")
	r.do("purge", "net-porter")
	if r.has("etc/net-porter") || !r.has("kept/config.json") {
		t.Error("a purge does not remove the link, or more than that")
	}
}

func TestRemovalTellsOfContainersThatHaveInterfaces(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, made trees, f format) {
		r, _ := installed(t, made, f)
		r.boot(true)
		r.write("usr/bin/net-porter", "#!/bin/sh\necho \"net-porter $*\" >>/calls\ntest \"$1\" != attachments || printf 'USER\\nalice\\nbob\\n'\n", 0o755)
		said, calls := r.do("remove", "net-porter")
		if !strings.Contains(said, "still have 2 interfaces") {
			t.Errorf("nothing is said of containers with interfaces: %s", said)
		}
		asked, purged := slices.Index(calls, "net-porter attachments"), slices.Index(calls, "net-porter enforce --purge")
		stopped := slices.Index(calls, "systemctl stop net-porter.socket net-porter.service")
		if asked < 0 || stopped < asked || purged < stopped {
			t.Errorf("the daemon is not asked, stopped and then its rules removed, but: %s", strings.Join(calls, "; "))
		}
	})
}

// Each boot makes the folders that are missing, and leaves to administrators what they have
// made of them.
func TestFoldersAreMadeAndLeftAlone(t *testing.T) {
	t.Parallel()
	testlab.RequireRoot(t)
	rules, err := filepath.Abs("../../contrib/systemd/net-porter.tmpfiles")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	must(t, root, "mkdir", "-p", "-m", "700", "etc/net-porter")
	must(t, root, "systemd-tmpfiles", "--root="+root, "--create", rules)
	for path, want := range map[string]string{"etc/net-porter": "700", "etc/net-porter/cni.d": "755", "etc/net-porter/config.d": "755", "var/lib/net-porter": "700"} {
		if got := strings.TrimSpace(must(t, root, "stat", "-c", "%a", path)); got != want {
			t.Errorf("%s has mode %s, not %s", path, got, want)
		}
	}
}
