package server

import (
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// A parent link that cannot work is named at once, not when the plugins' time is over.
func TestParentLinkThatCannotWork(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{
		"static": strings.Replace(staticConflist, `"name":"lan"`, `"name":"static"`, 1),
		"dhcp":   `{"cniVersion":"1.0.0","name":"dhcp","plugins":[{"type":"macvlan","master":"infra","ipam":` + dhcpIPAM + `}]}`,
		"device": `{"cniVersion":"1.0.0","name":"device","plugins":[{"type":"host-device","device":"infra"}]}`,
	}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	q := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	unavailable := func(resource, says string) {
		t.Helper()
		_, r := d.attach(s, resource, q)
		if p := wantProblem(t, r, api.ResourceUnavailable); !strings.Contains(p.Detail, "parent link infra") || !strings.Contains(p.Detail, says) {
			t.Errorf("%s: the detail does not name the link and say %q: %s", resource, says, p.Detail)
		}
	}
	ip("link", "set", "infra", "down")
	unavailable("static", "down")
	unavailable("dhcp", "down")
	// It is brought up where it goes.
	if _, r := d.attach(s, "device", q); r.Status != http.StatusOK {
		t.Errorf("host-device: %d %s", r.Status, r.Body)
	}
	d.detach(s, "device", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})

	ip("link", "set", "infra", "up")
	ok(t, lan.Do(func() error { return exec.Command("ip", "link", "set", "lan0", "down").Run() }))
	unavailable("dhcp", "no carrier")
	if _, r := d.attach(s, "static", q); r.Status != http.StatusOK || !slices.Contains(s.Links(ns), "eth0") {
		t.Errorf("a static address without a carrier: %d %s", r.Status, r.Body)
	}
	d.detach(s, "static", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	d.wantNothingLeft()
}
