package server

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/testlab"
)

// chained is staticConflist with a second plugin behind macvlan.
func chained(plugin string) string {
	return strings.TrimSuffix(staticConflist, "]}") + `,{"type":"` + plugin + `"}]}`
}

// pluginDirs are the real plugins and a folder with one more, a shell script.
func pluginDirs(t *testing.T, name, script string) []string {
	t.Helper()
	dir := must(os.MkdirTemp("", "plugins-"))(t)
	t.Cleanup(func() { os.RemoveAll(dir) })
	ok(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755))
	return []string{testlab.CNIPlugins(t), dir}
}

// What makes an attach fail leaves nothing, and the caller learns what it was.
func TestFailedAttachLeavesNothing(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	const onAdd = `cat >/dev/null; test "$CNI_COMMAND" = ADD || exit 0; `
	tests := []struct {
		name, conflist, script string
		code                   api.ProblemCode
		says                   string
	}{
		{"the second plugin fails", chained("fake"), onAdd + `echo '{"code":100,"msg":"the moon is full"}'; exit 1`, api.CniFailed, "the moon is full"},
		{"the second plugin prints garbage", chained("fake"), onAdd + `echo garbage`, api.CniFailed, "fake"},
		{"the second plugin says nothing", chained("fake"), onAdd + `exit 0`, api.CniFailed, "fake"},
		{"the second plugin hangs", chained("fake"), onAdd + `sleep 1000`, api.Timeout, "time allowed"},
		{"the second plugin is missing", chained("absent"), `exit 1`, api.ResourceUnavailable, "plugin"},
		{"the parent link is missing", strings.Replace(staticConflist, "infra", "absent0", 1), `exit 1`, api.ResourceUnavailable, "absent0"},
		{"there is no conflist", "", `exit 1`, api.ResourceUnavailable, "no network configuration"},
		{"the conflist is broken", `{"cniVersion":"1.0.0",}`, `exit 1`, api.ResourceUnavailable, "net-porter check"},
		{"the parent link is the container's", strings.Replace(staticConflist, `"master"`, `"linkInContainer":true,"master"`, 1), `exit 1`, api.ResourceUnavailable, "net-porter check"},
		{"there is no DHCP server", strings.Replace(staticConflist, `"type":"static"`, `"type":"dhcp"`, 1), `exit 1`, api.DhcpNoOffer, "no DHCP server answered"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			timeout := 20 * time.Second
			if tt.code == api.Timeout {
				timeout = 6 * time.Second
			}
			d := start(t, setup{
				conflists: map[string]string{"lan": tt.conflist}, pluginDirs: pluginDirs(t, "fake", tt.script), timeout: timeout,
				settings: map[string]Settings{"lan": {DHCPTimeout: time.Second}},
			})
			s, dir := sandboxWithDir(t, alice)
			ns := container(t, s, dir)
			_, response := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
			if p := wantProblem(t, response, tt.code); !strings.Contains(p.Detail, tt.says) {
				t.Errorf("the detail does not say %q: %s", tt.says, p.Detail)
			} else if strings.Contains(p.Detail, d.confDir) {
				t.Errorf("the detail tells of the administrator's files: %s", p.Detail)
			}
			if slices.Contains(s.Links(ns), "eth0") {
				t.Error("the interface is still there")
			}
			d.wantNothingLeft()
		})
	}
}

// What a plugin says beside its message may be of the host's files.
func TestPluginsDetailsAreForTheLog(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": chained("fake")}, pluginDirs: pluginDirs(t, "fake",
		`cat >/dev/null; test "$CNI_COMMAND" = ADD || exit 0; echo '{"code":100,"msg":"the moon is full","details":"see /etc/moon.key"}'; exit 1`)})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	_, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	if p := wantProblem(t, r, api.CniFailed); strings.Contains(p.Detail, "moon.key") || !strings.Contains(p.Detail, "the moon is full") {
		t.Errorf("the caller is told: %s", p.Detail)
	}
	d.log.waitFor(t, "see /etc/moon.key")
	d.wantNothingLeft()
}

// A network that names no name servers gives containers those of the host.
func TestResultHasTheHostsNameServers(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	file := filepath.Join(t.TempDir(), "resolv.conf")
	ok(t, os.WriteFile(file, []byte("nameserver 192.0.2.53\nsearch lan.example\n"), 0o644))
	d.server.hostDNS = hostDNS{[]string{file}}
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	result, _ := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	if !slices.Equal(result.DNS.Nameservers, []string{"192.0.2.53"}) || !slices.Equal(result.DNS.Search, []string{"lan.example"}) {
		t.Errorf("got %+v", result.DNS)
	}
	d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
}

// A caller that hangs up in the middle will never tear down.
func TestHangUpUndoesTheAttach(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	s, dir := sandboxWithDir(t, alice)
	fifo := filepath.Join(testlab.PublicDir(t), "started")
	ok(t, unix.Mkfifo(fifo, 0o600))
	ok(t, os.Chmod(fifo, 0o666))
	d := start(t, setup{
		conflists:  map[string]string{"lan": chained("fake")},
		pluginDirs: pluginDirs(t, "fake", `cat >/dev/null; test "$CNI_COMMAND" = ADD || exit 0; echo >`+fifo+`; exec sleep 1000`),
		timeout:    10 * time.Minute, // far beyond the test's own
	})
	ns := container(t, s, dir)
	// The interface is there when the second plugin begins; then the caller is killed.
	s.Exec("sh", "-c", `curl -sS --unix-socket `+d.socket+` -H 'Content-Type: application/json' \
		-d '{"container_id":"x","interface_name":"eth0","netns":"`+ns+`"}' http://localhost/v1/networks/lan/attach >/dev/null 2>&1 &
		read started <`+fifo+`; kill -9 $!; wait $! || true`)
	// The attach holds the attachment's lock until it is undone.
	ok(t, d.manager.Detach(context.Background(), attachment.Key{UID: alice.UID, ContainerID: "x", Interface: "eth0"}, nil))
	if slices.Contains(s.Links(ns), "eth0") {
		t.Error("the interface is still there")
	}
	d.log.waitFor(t, "outcome=abandoned")
	d.wantNothingLeft()
}

// A container that died without a teardown, and starts again under its old id.
func TestAttachReleasesWhatADeadContainerHad(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{
		"lan": `{"cniVersion":"1.0.0","name":"lan","type":"macvlan","master":"infra","ipam":{"type":"host-local","dataDir":"` + t.TempDir() + `","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.200","rangeEnd":"192.0.2.200"}]]}}`,
	}})
	s, dir := sandboxWithDir(t, alice)
	for range 3 { // there is one address only: each start needs the one of the last
		ns := container(t, s, dir)
		if _, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
			t.Fatalf("attach: %d %s", r.Status, r.Body)
		}
		s.Unmount(ns)
	}
	d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0"})
	d.wantNothingLeft()
}

// A namespace that dies without a detach, as when podman is killed, is released.
func TestDeathOfTheNamespaceReleases(t *testing.T) {
	lan := testlab.NewLAN(t)
	d := start(t, setup{conflists: map[string]string{
		"lan": `{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"macvlan","master":"infra","ipam":` + dhcpIPAM + `}]}`,
	}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	if _, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	lan.WaitLog("DHCPACK")
	s.Exit()
	d.log.waitFor(t, "released an attachment")
	d.wantNothingLeft()
}

// A user who gives back an attachment and not its namespace does not keep the
// interface, with an address that goes to somebody else.
func TestDetachWithoutTheNamespaceTakesTheInterface(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, users: []testlab.User{alice, eve}})
	a, aliceDir := sandboxWithDir(t, alice)
	alices := container(t, a, aliceDir)
	d.attach(a, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: alices})
	e, dir := sandboxWithDir(t, eve)
	ns := container(t, e, dir)
	for name, presented := range map[string]string{"none": "", "another": container(t, e, dir), "a file": "/etc/passwd"} {
		t.Run(name, func(t *testing.T) {
			if _, r := d.attach(e, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
				t.Fatalf("attach: %d %s", r.Status, r.Body)
			}
			if r := d.detach(e, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: presented}); r.Status != http.StatusNoContent {
				t.Fatalf("detach: %d %s", r.Status, r.Body)
			}
			if slices.Contains(e.Links(ns), "eth0") {
				t.Error("eve still has the interface")
			}
		})
	}
	// The same by attaching the container elsewhere.
	second := container(t, e, dir)
	d.attach(e, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	d.attach(e, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: second})
	if slices.Contains(e.Links(ns), "eth0") || !slices.Contains(e.Links(second), "eth0") {
		t.Errorf("eve's links: %v and %v, want the second alone", e.Links(ns), e.Links(second))
	}
	d.detach(e, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: second})
	if !slices.Contains(a.Links(alices), "eth0") {
		t.Error("alice's interface is gone")
	}
	d.detach(a, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: alices})
	d.wantNothingLeft()
}
