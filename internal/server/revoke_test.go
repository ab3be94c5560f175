package server

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/testlab"
)

// What is taken from a user is detached where the resource says so, and stays where it
// does not; what they still may have stays in any case.
func TestRevoke(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	fixed := func(name string) string { return strings.Replace(dualStack, `"fixed"`, `"`+name+`"`, 1) }
	grants := []policy.Grant{grantOf(t, alice, "192.0.2.96/27", "02:00:00:aa:00:00-02:00:00:aa:00:ff"), grantOf(t, eve, "192.0.2.128/27")}
	settings := map[string]Settings{"detach": {DetachOnRevoke: true}, "gone": {DetachOnRevoke: true}}
	d := start(t, setup{
		conflists: map[string]string{"detach": fixed("detach"), "keep": fixed("keep"), "gone": fixed("gone")}, users: []testlab.User{mallory},
		settings: settings, grants: map[string][]policy.Grant{"detach": grants, "keep": grants, "gone": grants},
	})
	s, dir := sandboxWithDir(t, alice)
	e, eves := sandboxWithDir(t, eve)
	attach := func(s *testlab.Sandbox, dir, resource, ip, mac string) string {
		t.Helper()
		ns := container(t, s, dir)
		q := api.AttachRequest{ContainerID: "c-" + resource + ip + strings.ReplaceAll(mac, ":", ""), InterfaceName: "eth0", Netns: ns, StaticMac: mac}
		if ip != "" {
			q.StaticIps = []string{ip}
		}
		if _, r := d.attach(s, resource, q); r.Status != http.StatusOK {
			t.Fatalf("attach: %d %s", r.Status, r.Body)
		}
		return ns
	}
	address := attach(s, dir, "detach", "192.0.2.97", "")    // of which the grant goes
	other := attach(s, dir, "detach", "192.0.2.98", "")      // of which it stays
	mac := attach(s, dir, "detach", "", "02:00:00:aa:00:01") // goes, too
	dynamic := attach(s, dir, "detach", "", "")              // nothing that was granted
	kept := attach(s, dir, "keep", "192.0.2.99", "")
	gone := attach(s, dir, "gone", "192.0.2.100", "")
	eves1 := attach(e, eves, "detach", "192.0.2.130", "")

	next := d.configuration
	left := []policy.Grant{grantOf(t, alice, "192.0.2.98"), grantOf(t, eve, "192.0.2.128/27")}
	next.Resources = []*policy.Resource{policy.NewResource(policy.Rules{Name: "detach", Grants: left}), policy.NewResource(policy.Rules{Name: "keep"})}
	ok(t, d.server.Configure(next))
	d.server.Revoke(context.Background())
	for ns, want := range map[string]bool{address: false, other: true, mac: false, dynamic: true, kept: true, gone: false} {
		if has := slices.Contains(s.Links(ns), "eth0"); has != want {
			t.Errorf("%s has its interface: %v, want %v", filepath.Base(ns), has, want)
		}
	}
	if !slices.Contains(e.Links(eves1), "eth0") {
		t.Error("eve has lost hers")
	}
	// What was taken away is not there to be had again, as after `podman network reload`.
	_, r := d.attach(s, "detach", api.AttachRequest{ContainerID: "c-detach192.0.2.97", InterfaceName: "eth0", Netns: address, StaticIps: []string{"192.0.2.97"}})
	wantProblem(t, r, api.AddressNotPermitted)
	_, r = d.attach(s, "detach", api.AttachRequest{ContainerID: "c-detach020000aa0001", InterfaceName: "eth0", Netns: mac, StaticMac: "02:00:00:aa:00:01"})
	wantProblem(t, r, api.AddressNotPermitted)
	if got := len(d.manager.List()); got != 4 {
		t.Errorf("%d attachments are left, want 4", got)
	}

	// Everything is taken from eve, and she is told why nothing new can be had.
	next.Resources = []*policy.Resource{policy.NewResource(policy.Rules{Name: "detach", Grants: left[:1]}), policy.NewResource(policy.Rules{Name: "keep"})}
	ok(t, d.server.Configure(next))
	d.server.Revoke(context.Background())
	if slices.Contains(e.Links(eves1), "eth0") {
		t.Error("eve still has hers")
	}
	_, r = d.attach(e, "detach", api.AttachRequest{ContainerID: "c", InterfaceName: "eth0", Netns: eves1})
	wantProblem(t, r, api.ResourceNotFound)
}

// While a name of a resource stands for nobody, as when the directory is down, nothing is
// taken from those who run on it, and nothing new is given; one word says so. What is
// taken away by the rules is gone as soon as every name is found.
func TestRevokeWaitsForNames(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	named := func(name string) string { return strings.Replace(staticConflist, `"lan"`, `"`+name+`"`, 1) }
	settings := map[string]Settings{"lan": {DetachOnRevoke: true}, "other": {DetachOnRevoke: true}, "gone": {DetachOnRevoke: true}}
	d := start(t, setup{conflists: map[string]string{"lan": named("lan"), "other": named("other"), "gone": named("gone")}, settings: settings})
	s, dir := sandboxWithDir(t, alice)
	ns := map[string]string{}
	for at, resource := range map[string]string{"one": "lan", "two": "lan", "other": "other", "gone": "gone"} {
		ns[at] = container(t, s, dir)
		if _, r := d.attach(s, resource, api.AttachRequest{ContainerID: at, InterfaceName: "eth0", Netns: ns[at]}); r.Status != http.StatusOK {
			t.Fatalf("attach: %d %s", r.Status, r.Body)
		}
	}
	revoke := func(unresolved ...string) {
		next := d.configuration
		next.Resources = []*policy.Resource{
			policy.NewResource(policy.Rules{Name: "lan", Unresolved: unresolved}), policy.NewResource(policy.Rules{Name: "other"}),
		}
		ok(t, d.server.Configure(next))
		d.server.Revoke(context.Background())
	}
	want := func(left map[string]bool) {
		t.Helper()
		for at, path := range ns {
			if has := slices.Contains(s.Links(path), "eth0"); has != left[at] {
				t.Errorf("%s has its interface: %v, want %v", at, has, left[at])
			}
		}
	}
	revoke("alice", "staff")
	want(map[string]bool{"one": true, "two": true})
	var said []string
	for line := range strings.Lines(d.log.String()) {
		if strings.Contains(line, "level=WARN") && strings.Contains(line, "attachments stay") {
			said = append(said, line)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], `resource=lan attachments=2 names="[alice staff]"`) {
		t.Errorf("said was %q", said)
	}
	_, r := d.attach(s, "lan", api.AttachRequest{ContainerID: "new", InterfaceName: "eth0", Netns: ns["other"]})
	wantProblem(t, r, api.ResourceNotFound)

	revoke()
	want(nil)
}

// Who has all turns that they may have, and more to lose than is detached at a time, holds
// up no other user's revocation, neither this configuration's nor the next one's, which
// takes effect for them, too: what it gives back while it waits stays.
func TestRevocationsWaitForTheirOwnUserAlone(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	named := func(name string) string { return strings.Replace(staticConflist, `"lan"`, `"`+name+`"`, 1) }
	detach := Settings{DetachOnRevoke: true}
	limits := defaultLimits(t)
	limits.PluginRunsPerUser = 1
	d := start(t, setup{
		conflists: map[string]string{"lan": named("lan"), "other": named("other"), "back": named("back")}, users: []testlab.User{alice, eve},
		settings: map[string]Settings{"lan": detach, "other": detach, "back": detach}, limits: limits,
	})
	attach := func(u testlab.User, id, resource string) func() bool {
		t.Helper()
		s, dir := sandboxWithDir(t, u)
		ns := container(t, s, dir)
		if _, r := d.attach(s, resource, api.AttachRequest{ContainerID: id, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
			t.Fatalf("attach: %d %s", r.Status, r.Body)
		}
		return func() bool { return slices.Contains(s.Links(ns), "eth0") }
	}
	var eves []func() bool
	for i := range revokeAtOnce + 1 {
		eves = append(eves, attach(eve, fmt.Sprint("e", i), "lan"))
	}
	evesBack := attach(eve, "back", "back") // the last in line
	attach(alice, "a1", "lan")
	attach(alice, "a2", "other")

	leave := d.hold(eve)
	var running sync.WaitGroup
	revoke := func(left ...*policy.Resource) {
		next := d.configuration
		next.Resources = left
		ok(t, d.server.Configure(next))
		running.Go(func() { d.server.Revoke(context.Background()) })
	}
	has := func(name string) *policy.Resource {
		return policy.NewResource(policy.Rules{Name: name, Users: map[uint32]string{alice.UID: "x", eve.UID: "x"}})
	}
	hasNot := func(name string) *policy.Resource { return policy.NewResource(policy.Rules{Name: name}) }
	detached := func(id string) {
		t.Helper()
		d.log.waitUntil(t, id+" waits for what another user does", func(log string) bool {
			for line := range strings.Lines(log) {
				if strings.Contains(line, "detached an attachment that was revoked") && strings.Contains(line, " container="+id+" ") {
					return true
				}
			}
			return false
		})
	}
	revoke(hasNot("lan"), has("other"), hasNot("back"))
	detached("a1")
	revoke(hasNot("lan"), hasNot("other"), has("back"))
	detached("a2")
	for i, is := range eves {
		if !is() {
			t.Errorf("of eve's, e%d was detached without a turn", i)
		}
	}
	leave()
	running.Wait()
	for i, is := range eves {
		if is() {
			t.Errorf("eve still has e%d", i)
		}
	}
	if !evesBack() {
		t.Error("eve has lost what she has again")
	}
	if n := strings.Count(d.log.String(), "detached an attachment that was revoked"); n != len(eves)+2 {
		t.Errorf("%d were logged as detached, want %d", n, len(eves)+2)
	}
}

// A conflist that is not whole leaves the one before in force, of its resource alone.
func TestConflistThatIsBroken(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist, "other": strings.Replace(staticConflist, `"lan"`, `"other"`, 1)}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	attach := func(resource, ifname string) testlab.Response {
		_, r := d.attach(s, resource, api.AttachRequest{ContainerID: "c", InterfaceName: ifname, Netns: ns})
		return r
	}
	ok(t, os.WriteFile(filepath.Join(d.confDir, "lan.json"), []byte(staticConflist[:100]), 0o644))
	next := d.configuration
	next.Resources = slices.Clone(next.Resources)
	for i, r := range next.Resources {
		if r.Name == "other" {
			next.Resources[i] = policy.NewResource(policy.Rules{Name: "other"}) // nobody's any more
		}
	}
	if err := d.server.Configure(next); err == nil || !strings.Contains(err.Error(), "lan.json") {
		t.Errorf("the fault is not told: %v", err)
	}
	if r := attach("lan", "eth0"); r.Status != http.StatusOK {
		t.Errorf("with the conflist of before: %d %s", r.Status, r.Body)
	}
	if r := attach("other", "eth1"); r.Status != http.StatusNotFound {
		t.Errorf("what was taken away is still to be had: %d %s", r.Status, r.Body)
	}
	ok(t, os.Remove(filepath.Join(d.confDir, "lan.json")))
	ok(t, d.server.Configure(next))
	wantProblem(t, attach("lan", "eth2"), api.ResourceUnavailable)
}
