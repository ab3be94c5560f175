package check_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/testlab"
)

// healthy is the files of a configuration that this host has all for, once infra is there.
func healthy() map[string]string {
	return map[string]string{
		"config.json":     configuration(`{"name": "lan", "allow_users": ["alice"]}`),
		"cni.d/lan.json":  "{\"cniVersion\":\"1.0.0\",\"name\":\"lan\",\"plugins\":[\n{\"type\":\"macvlan\",\n\"master\":\"infra\",\"ipam\":{\"type\":\"dhcp\"}}]}",
		"plugins/macvlan": "#!/bin/sh\n", "plugins/dhcp": "#!/bin/sh\n",
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// The parent link is looked at as the daemon does at an attach.
func TestParentLinks(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithoutServer())
	dir := folder(t, healthy())
	expect := func(want string) {
		t.Helper()
		report := run(t, dir, true)
		if want != "" {
			want = "cni.d/lan.json:3:1: error: resource lan: it needs the parent link infra, which " + want
		}
		if got := said(report, dir); !strings.HasPrefix(got, want) || want == "" && got != "" || strings.Contains(got, "\n") {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	expect("")
	if err := lan.Do(func() error { return exec.Command("ip", "link", "set", "lan0", "down").Run() }); err != nil {
		t.Fatal(err)
	}
	expect("has no carrier")
	command(t, "ip", "link", "set", "infra", "down")
	expect("is down")
	command(t, "ip", "link", "del", "infra")
	expect("is not there on this host")
}

func TestPluginsAndFolders(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir string)
		want   string
	}{
		{"a plugin is missing", func(t *testing.T, dir string) { remove(t, dir+"/plugins/dhcp") },
			`cni.d/lan.json: error: resource lan: CNI plugin not found: "dhcp" is in none of plugins; install it, or correct cni.plugin_dirs`},
		{"others can write a plugin", func(t *testing.T, dir string) { chmod(t, dir+"/plugins/dhcp", 0o777) },
			`cni.d/lan.json: error: resource lan: CNI plugin not safe to run: plugins/dhcp can be written by its group or by others; chmod go-w plugins/dhcp`},
		{"others can write the state folder", func(t *testing.T, dir string) { command(t, "mkdir", "-m", "0777", dir+"/state") },
			`config.json: error: state_dir: the state folder state must belong to root and be writable by root alone: chown root state; chmod 0700 state`},
		{"the state folder is a file", func(t *testing.T, dir string) { command(t, "touch", dir+"/state") },
			`config.json: error: state_dir: the state folder state is not a folder: move it away, or choose another state_dir`},
		{"something that is no socket", func(t *testing.T, dir string) { command(t, "touch", dir+"/s") },
			`config.json: warning: domain_socket.path: cannot make the socket s: something that is no socket is in its place: move it away, or choose another path in domain_socket.path (it is not used where systemd makes the socket (net-porter.socket))`},
		{"no folder for the socket", func(t *testing.T, dir string) { command(t, "sed", "-i", `s#/s"#/nowhere/s"#`, dir+"/config.json") },
			`config.json: warning: domain_socket.path: cannot make the socket nowhere/s: its folder: stat nowhere: no such file or directory (it is not used where systemd makes the socket (net-porter.socket))`},
		{"no such group", func(t *testing.T, dir string) {
			command(t, "sed", "-i", `s#/s"#/s", "group": "nix"#`, dir+"/config.json")
		},
			"config.json: warning: cannot make the socket: domain_socket.group: no such user or group: make it with `groupadd --system nix` (it is not used where systemd makes the socket (net-porter.socket))"},
		{"a web configuration that is not there", func(t *testing.T, dir string) {
			command(t, "sed", "-i", `s#"cni"#"metrics": {"web_config_file": "`+dir+`/web.yaml"}, "cni"#`, dir+"/config.json")
		},
			`web.yaml: error: metrics.web_config_file: open web.yaml: no such file or directory`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t, healthy())
			tt.change(t, dir)
			report := run(t, dir, true)
			if got := strings.ReplaceAll(said(report, dir), dir+"/", ""); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			without := check.Run(t.Context(), check.Options{Path: dir + "/config.json"})
			if len(without.Findings) > 0 {
				t.Errorf("without a look at the host: %v", without.Findings)
			}
		})
	}
}

// A state folder that is yet to be made needs a disk that can be written.
func TestStateFolderOnAReadOnlyDisk(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	dir := folder(t, healthy())
	disk := dir + "/disk"
	command(t, "mkdir", disk)
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	command(t, "sed", "-i", "s#/state#/disk/a/b#", dir+"/config.json")
	if got, want := said(run(t, dir, true), dir), "config.json: error: state_dir: cannot make the state folder in disk, which is on a disk that is read-only"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
