package doctor

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// hostile is a host that root looks at, where /home/alice and what is in it are alice's.
func hostile(t *testing.T) *examination {
	t.Helper()
	testlab.RequireRoot(t)
	says := map[string]string{}
	for _, program := range []string{"/home/alice/bin/tool", "/usr/bin/tool", "/usr/bin/reboot", "/home/alice/p/net-porter", "/shared/tool"} {
		says[program+" x"], says[program+" info"] = "ran "+program, "ran "+program
	}
	e := fake(t, map[string]string{
		"/secret": "secret", "/etc/real.conf": "root's", "/home/alice/bin/tool": "#!", "/home/alice/p/x": "", "/usr/bin/tool": "#!", "/usr/bin/reboot": "#!", "/shared/tool": "#!",
	}, says)
	e.host.asRoot = true
	root := e.host.root
	err := errors.Join(
		unix.Mkfifo(root+"/home/alice/pipe", 0o644),
		os.Chown(root+"/home/alice", 1000, 1000), os.Chown(root+"/home/alice/p", 1000, 1000),
		os.Chmod(root+"/shared", 0o777|os.ModeSticky),
	)
	for link, target := range map[string]string{
		"/home/alice/link": "/secret", "/home/alice/up": "../../secret", "/etc/link.conf": "real.conf",
		"/usr/bin/other": "/home/alice/bin/tool", "/usr/bin/round": "round", "/usr/bin/far": "../../usr/./bin//tool", "/sbin": "usr/bin",
		"/home/alice/p/net-porter": "/usr/bin/reboot", "/usr/bin/through": "/home/alice/p/net-porter",
	} {
		err = errors.Join(err, os.Symlink(target, root+link))
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What a user can put in the way of root who looks is neither waited for nor followed.
func TestRootReadsNoLinksOfOthers(t *testing.T) {
	e := hostile(t)
	for _, path := range []string{"/home/alice/pipe", "/home/alice/link", "/home/alice/up", "/home/alice/none", "/home/alice"} {
		if text := e.host.read(path); text != "" {
			t.Errorf("%s was read: %q", path, text)
		}
	}
	if files := e.host.list("/home/alice/pipe", ".json", 1); files != nil {
		t.Errorf("a pipe was listed: %q", files)
	}
	if text := e.host.read("/etc/link.conf"); text != "root's" {
		t.Errorf("root's own link was not followed: %q", text)
	}
	e.host.asRoot = false
	if text := e.host.read("/home/alice/up"); text != "secret" {
		t.Errorf("who looks with their own rights does not follow their own links: %q", text)
	}
}

// Root runs nothing that a user has written, and nothing that a user has chosen: a link may
// point at root's program when it is looked at, and elsewhere when it is run.
func TestRootRunsNothingOfOthers(t *testing.T) {
	e := hostile(t)
	for _, program := range []string{
		"/home/alice/bin/tool", "/usr/bin/other", "/shared/tool", "bin/tool", ".", "", "/home/alice/p/net-porter", "/usr/bin/through",
		"/home/alice/../../usr/bin/tool",
	} {
		if said, err := e.host.ask(context.Background(), program, "x"); !errors.Is(err, errNotRoots) {
			t.Errorf("%q: %q, %v", program, said, err)
		}
	}
	if _, err := e.host.ask(context.Background(), "/usr/bin/round", "x"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link to itself: %v", err)
	}
	for _, program := range []string{"/usr/bin/tool", "/sbin/tool", "/usr/bin/far"} {
		if said, err := e.host.ask(context.Background(), program, "x"); err != nil || said != "ran /usr/bin/tool" {
			t.Errorf("root's own %s: %q, %v", program, said, err)
		}
	}
}

// A user's containers.conf may name any folder for plugins. The finding is no reason to
// run what is there as root.
func TestRootRunsNoPluginOfOthers(t *testing.T) {
	for _, dir := range []string{"/home/alice/p", "p", ".", "/home/alice/p/\x1b]0;x"} {
		e := hostile(t)
		conf := e.host.root + "/home/alice/.config/containers"
		if err := errors.Join(os.MkdirAll(conf, 0o755), os.WriteFile(conf+"/containers.conf", []byte("[network]\nnetavark_plugin_dirs = [\""+dir+"\"]\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
		e.plugin(context.Background(), e.containersConf())
		for _, f := range e.report.Findings {
			if f.Result == OK || strings.Contains(f.Text, "ran /") || strings.Contains(f.Text+f.Remedy, "\x1b") {
				t.Errorf("%q: %+v", dir, f)
			}
		}
	}
}
