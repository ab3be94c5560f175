package server

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// guarded is a network whose containers are held to their addresses.
func guarded(conflist string) string {
	return strings.Replace(conflist, `"type":"macvlan",`, `"type":"macvlan","mode":"private",`, 1)
}

// pingFrom pings the LAN's machine from an address that the container's root has taken.
func pingFrom(s *testlab.Sandbox, ns, address string) error {
	_, err := s.Try("exec", "nsenter", "--net="+ns, "sh", "-c", "ip addr replace "+address+"/24 dev eth0 && busybox ping -q -c 1 -W 1 -I "+address+" 192.0.2.1")
	return err
}

// rules are what is in force of ours.
func rules(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	ok(t, err)
	return string(out)
}

// From the first frame of its DHCP exchange to its end a container is itself and nobody
// else; nothing is left of the rules with the last one.
func TestEnforce(t *testing.T) {
	lan := testlab.NewLAN(t)
	d := start(t, setup{
		conflists: map[string]string{"lan": guarded(plainDHCP), "fixed": guarded(staticConflist), "open": guarded(strings.Replace(staticConflist, `"lan"`, `"open"`, 1))},
		settings:  map[string]Settings{"lan": {Enforce: true, Probe: true}, "fixed": {Enforce: true}},
	})
	s, dir := sandboxWithDir(t, alice)
	for _, resource := range []string{"lan", "fixed"} {
		t.Run(resource, func(t *testing.T) {
			ns := container(t, s, dir)
			q := api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns}
			result, r := d.attach(s, resource, q)
			if r.Status != http.StatusOK {
				t.Fatalf("attach: %d %s", r.Status, r.Body)
			}
			own := netip.MustParsePrefix(result.Ips[0].Address).Addr()
			lan.Ping(own)
			if err := pingFrom(s, ns, own.String()); err != nil {
				t.Errorf("as itself it reaches nobody: %v", err)
			}
			if err := pingFrom(s, ns, "192.0.2.77"); err == nil {
				t.Error("it can be 192.0.2.77")
			}
			s.Exec("nsenter", "--net="+ns, "sh", "-c", "ip link set eth0 address 02:00:00:99:99:99 && ip addr replace "+own.String()+"/24 dev eth0")
			if err := pingFrom(s, ns, own.String()); err == nil {
				t.Error("it can have another MAC")
			}
			if !strings.Contains(rules(t), result.Interfaces[0].Mac) {
				t.Errorf("the rules do not know it:\n%s", rules(t))
			}
			if r := d.detach(s, resource, api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusNoContent {
				t.Errorf("detach: %d %s", r.Status, r.Body)
			}
			if strings.Contains(rules(t), result.Interfaces[0].Mac) {
				t.Error("the rules still know it")
			}
		})
	}
	// A resource that does not enforce cannot share the parent, for its containers could
	// not send.
	_, r := d.attach(s, "open", api.AttachRequest{ContainerID: "c", InterfaceName: "eth0", Netns: container(t, s, dir)})
	wantProblem(t, r, api.ResourceUnavailable)
	d.wantNothingLeft()
}

// Enforcement that is turned on holds what is attached already, and turned off leaves no
// rule; the spoofing that it prevents works without it.
func TestEnforceIsTurnedOnAndOff(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": guarded(staticConflist)}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	if _, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	if err := pingFrom(s, ns, "192.0.2.77"); err != nil {
		t.Fatalf("without enforcement it cannot spoof, so this measures nothing: %v", err)
	}
	for _, on := range []bool{true, false, true} {
		next := d.configuration
		next.Settings = map[string]Settings{"lan": {Enforce: on}}
		d.reload(next)
		if err := pingFrom(s, ns, "192.0.2.50"); err != nil {
			t.Errorf("enforced %v: it cannot be itself: %v", on, err)
		}
		if err := pingFrom(s, ns, "192.0.2.77"); (err != nil) != on {
			t.Errorf("enforced %v: as another: %v", on, err)
		}
		if there := strings.Contains(rules(t), "net_porter"); there != on {
			t.Errorf("enforced %v: rules are there: %v", on, there)
		}
	}
	ok(t, d.manager.Detach(context.Background(), d.manager.List()[0].Key, nil))
	d.wantNothingLeft()
}

// reload puts a configuration in force as the daemon does. Whether a conflist is at fault
// plays no part.
func (d *daemon) reload(next Configuration) {
	d.t.Helper()
	_ = d.server.Configure(next)
	ok(d.t, d.manager.Enforce(d.server.EnforcedParents(), d.server.Enforces))
}

// Containers run on where they were made. No mistake in a conflist sets them free, nor does
// any other change but that "enforce" is taken back.
func TestEnforcementOutlivesTheConflist(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	enforced := map[string]Settings{"lan": {Enforce: true}}
	d := start(t, setup{conflists: map[string]string{"lan": guarded(staticConflist)}, settings: enforced})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	if _, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	wantHeld := func(after string, held bool) {
		t.Helper()
		if err := pingFrom(s, ns, "192.0.2.50"); err != nil {
			t.Errorf("%s: it cannot be itself: %v", after, err)
		}
		if err := pingFrom(s, ns, "192.0.2.77"); (err != nil) != held {
			t.Errorf("%s: as another: %v, want it held: %v", after, err, held)
		}
	}
	wantHeld("attached", true)
	conflist := filepath.Join(d.confDir, "lan.json")
	ok(t, os.WriteFile(conflist, []byte(strings.Replace(guarded(staticConflist), "infra", "elsewhere", 1)), 0o644))
	d.reload(d.configuration)
	wantHeld("the conflist has another master", true)
	ok(t, os.Remove(conflist))
	d.reload(d.configuration)
	wantHeld("the conflist is gone", true)
	gone := d.configuration
	gone.Resources, gone.Settings = nil, nil
	d.reload(gone)
	wantHeld("the resource is gone", true)

	d.stop()
	d = start(t, setup{state: d.state, conflists: map[string]string{"lan": staticConflist[:100]}, settings: enforced})
	wantHeld("a daemon starts whose conflist is broken", true)
	d.stop()
	ok(t, exec.Command("nft", "flush", "ruleset").Run())
	d = start(t, setup{state: d.state})
	wantHeld("a daemon starts without the resource and the rules", true)

	d.stop()
	d = start(t, setup{state: d.state, conflists: map[string]string{"lan": guarded(staticConflist)}, settings: map[string]Settings{"lan": {}}})
	wantHeld("enforce is taken back", false)
	if all := rules(t); strings.Contains(all, "net_porter") {
		t.Errorf("rules are left:\n%s", all)
	}
	d.reload(Configuration{Settings: enforced, Resources: d.configuration.Resources, ConfigDir: d.confDir, CNI: d.configuration.CNI, Limits: d.configuration.Limits})
	wantHeld("enforce is there again", true)
	d.reload(gone)
	ok(t, d.manager.Detach(context.Background(), d.manager.List()[0].Key, nil))
	d.reload(gone)
	if all := rules(t); strings.Contains(all, "net_porter") {
		t.Errorf("with the last container rules are left:\n%s", all)
	}
	d.wantNothingLeft()
}

// A configuration is in force a moment before its rules are, and nobody gets in between.
func TestNoAttachBeforeTheRules(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": guarded(staticConflist)}, settings: map[string]Settings{"lan": {}}})
	next := d.configuration
	next.Settings = map[string]Settings{"lan": {Enforce: true}}
	ok(t, d.server.Configure(next))
	s, dir := sandboxWithDir(t, alice)
	q := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: container(t, s, dir)}
	_, r := d.attach(s, "lan", q)
	wantProblem(t, r, api.Busy) // upon which podman's plugin asks again
	d.wantNothingLeft()
	d.reload(next)
	if _, r := d.attach(s, "lan", q); r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	if err := pingFrom(s, q.Netns, "192.0.2.77"); err == nil {
		t.Error("it can be another")
	}
}

// Whoever answers the DHCP client in a container's network namespace, which is its
// owner's, grants what she likes: here by a server on another macvlan of the same parent.
// It must not let her send as the LAN's router.
func TestForgedGrantIsNotAdmitted(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithDnsmasq("--dhcp-reply-delay=1"))
	evil := lan.AddServer(testlab.Dnsmasq, "--dhcp-range=192.0.2.7,192.0.2.7,255.255.255.0,1h")
	d := start(t, setup{conflists: map[string]string{"lan": plainDHCP}, settings: map[string]Settings{"lan": {Enforce: true}}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	q := api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns}

	evil.Start()
	_, r := d.attach(s, "lan", q)
	if p := wantProblem(t, r, api.AddressUnavailable); !strings.Contains(p.Detail, "did not confirm it") {
		t.Errorf("the user reads %q", p.Detail)
	}
	evil.WaitLog("DHCPACK(lan0) 192.0.2.7") // it was granted
	d.log.waitFor(t, "event=lease-refused")
	if all := rules(t); strings.Contains(all, "192.0.2.7") {
		t.Errorf("the rules have what was forged:\n%s", all)
	}
	d.wantNothingLeft()

	evil.Stop()
	result, r := d.attach(s, "lan", q)
	if r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	own := netip.MustParsePrefix(result.Ips[0].Address).Addr()
	for range 2 { // by what was recorded, too, as when another daemon starts
		if all := rules(t); !strings.Contains(all, own.String()) {
			t.Errorf("the rules do not have %s:\n%s", own, all)
		}
		lan.Ping(own)
		ok(t, d.manager.Enforce(nil, func(string) (wanted, known bool) { return false, true }))
		ok(t, d.manager.Enforce(d.server.EnforcedParents(), d.server.Enforces))
	}
}

// A network that cannot be held to anything is not used as if it could.
func TestUnenforceable(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{
		conflists: map[string]string{"lan": strings.Replace(staticConflist, `"master":"infra",`, ``, 1)},
		settings:  map[string]Settings{"lan": {Enforce: true}},
	})
	s, dir := sandboxWithDir(t, alice)
	_, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: container(t, s, dir)})
	if p := wantProblem(t, r, api.ResourceUnavailable); !strings.Contains(p.Detail, "cannot be enforced") {
		t.Errorf("the user reads %q", p.Detail)
	}
	d.log.waitFor(t, "master")
}
