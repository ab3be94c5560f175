package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/testlab"
)

const plainDHCP = `{"cniVersion":"1.0.0","name":"lan","type":"macvlan","master":"infra","ipam":{"type":"dhcp"}}`

// guest is a container as its user's podman sees it.
type guest struct {
	d        *daemon
	s        *testlab.Sandbox
	dir      string
	resource string
	q        api.AttachRequest
}

// guest prepares a container in a namespace of its own; the n-th has an id of its own.
func (d *daemon) guest(s *testlab.Sandbox, dir, resource, name string, n int) *guest {
	d.t.Helper()
	return &guest{d: d, s: s, dir: dir, resource: resource, q: api.AttachRequest{
		ContainerID: fmt.Sprintf("%064x", n), ContainerName: name, InterfaceName: "eth0", Netns: container(d.t, s, dir),
	}}
}

func (g *guest) attach() api.AttachResult {
	g.d.t.Helper()
	result, response := g.d.attach(g.s, g.resource, g.q)
	if response.Status != http.StatusOK {
		g.d.t.Fatalf("attach: %d %s", response.Status, response.Body)
	}
	return result
}

func (g *guest) detach() {
	g.d.t.Helper()
	r := g.d.detach(g.s, g.resource, api.DetachRequest{ContainerID: g.q.ContainerID, InterfaceName: "eth0", Netns: g.q.Netns})
	if r.Status != http.StatusNoContent {
		g.d.t.Fatalf("detach: %d %s", r.Status, r.Body)
	}
}

// die is the end of the container's namespace without a detach.
func (g *guest) die() { g.d.t.Helper(); g.s.Unmount(g.q.Netns) }

// known is all that a LAN knows a machine by.
func known(r api.AttachResult) string {
	return r.Interfaces[0].Mac + " " + r.Ips[0].Address + " " + r.Lease.ClientID
}

// `podman rm web; podman run --name web`: a new container id, the same machine.
func TestNextContainerOfTheSameNameGetsTheSameLease(t *testing.T) {
	testlab.NewLAN(t)
	d := start(t, setup{conflists: map[string]string{"lan": plainDHCP}})
	s, dir := sandboxWithDir(t, alice)
	var first string
	for n := range 4 {
		g := d.guest(s, dir, "lan", "web", n)
		got := known(g.attach())
		if n == 0 {
			first = got
		}
		if got != first {
			t.Errorf("container %d is %s, the first was %s", n, got, first)
		}
		g.detach()
	}
	d.wantNothingLeft()
}

// The same, when the container before was killed and nobody detached it.
func TestContainerThatDiedMakesWayForItsSuccessor(t *testing.T) {
	for _, resource := range []string{"lan", "fixed"} {
		t.Run(resource, func(t *testing.T) {
			testlab.NewLAN(t)
			d := start(t, setup{conflists: map[string]string{"lan": plainDHCP, "fixed": staticConflist}})
			s, dir := sandboxWithDir(t, alice)
			var first string
			for n := range 6 {
				g := d.guest(s, dir, resource, "web", n)
				r := g.attach()
				got := r.Interfaces[0].Mac + " " + r.Ips[0].Address
				if n == 0 {
					first = got
				}
				if got != first {
					t.Errorf("container %d is %s, the first was %s", n, got, first)
				}
				g.die()
			}
			d.guest(s, dir, resource, "other", 99).attach()
		})
	}
}

func TestUsersOfOneNameAreTwoMachines(t *testing.T) {
	testlab.NewLAN(t)
	d := start(t, setup{conflists: map[string]string{"lan": plainDHCP}, users: []testlab.User{alice, eve}})
	seen := map[string]bool{}
	for _, u := range []testlab.User{alice, eve} {
		s, dir := sandboxWithDir(t, u)
		// The same id, too: a user can choose it.
		for _, word := range strings.Fields(known(d.guest(s, dir, "lan", "web", 7).attach())) {
			if seen[word] {
				t.Errorf("two users' containers have %s", word)
			}
			seen[word] = true
		}
	}
}

// Podman keeps names apart, curl does not: one address for two would be none for either.
func TestTwoOfOneNameAtOnceAreTwoMachines(t *testing.T) {
	testlab.NewLAN(t)
	d := start(t, setup{conflists: map[string]string{"lan": plainDHCP}})
	s, dir := sandboxWithDir(t, alice)
	first, second := d.guest(s, dir, "lan", "web", 1), d.guest(s, dir, "lan", "web", 2)
	a, b := first.attach(), second.attach()
	if a.Interfaces[0].Mac == b.Interfaces[0].Mac || a.Ips[0] == b.Ips[0] || a.Lease.ClientID == b.Lease.ClientID {
		t.Errorf("%s and %s", known(a), known(b))
	}
}

func TestIdentitySettings(t *testing.T) {
	testlab.NewLAN(t)
	d := start(t, setup{
		conflists: map[string]string{
			"byid": plainDHCP, "random": plainDHCP,
			"named":   strings.Replace(plainDHCP, `"dhcp"}`, `"dhcp","provide":[{"option":"dhcp-client-identifier","fromArg":"K8S_POD_NAME"}]}`, 1),
			"written": strings.Replace(plainDHCP, `"dhcp"}`, `"dhcp","provide":[{"option":"dhcp-client-identifier","value":"the-one"}]}`, 1),
		},
		settings: map[string]Settings{"byid": {ByContainerID: true}, "random": {RandomMAC: true}},
	})
	s, dir := sandboxWithDir(t, alice)
	twice := func(resource string) (a, b api.AttachResult) {
		for i, r := range []*api.AttachResult{&a, &b} {
			g := d.guest(s, dir, resource, "web", i)
			*r = g.attach()
			g.detach()
		}
		return a, b
	}
	if a, b := twice("byid"); a.Interfaces[0].Mac == b.Interfaces[0].Mac || a.Lease.ClientID == b.Lease.ClientID {
		t.Errorf("identity by container id: %s, then %s", known(a), known(b))
	}
	if a, b := twice("random"); a.Interfaces[0].Mac == b.Interfaces[0].Mac || a.Lease.ClientID != b.Lease.ClientID {
		t.Errorf("random MAC: %s, then %s", known(a), known(b))
	}
	// Users choose names: nobody is another user's client by choosing theirs.
	if a, _ := twice("named"); a.Lease.ClientID != fmt.Sprintf("%x", "web.1000") {
		t.Errorf("the client id of the container's name is %s", a.Lease.ClientID)
	}
	if a, _ := twice("written"); a.Lease.ClientID != fmt.Sprintf("%x", "the-one") {
		t.Errorf("the client id of the conflist is not used: %s", a.Lease.ClientID)
	}
}

// `podman run --ip` on a resource with DHCP: who has a grant may ask, and the server decides.
func TestAddressOfTheUsersChoiceIsTheDHCPServersToGrant(t *testing.T) {
	testlab.NewLAN(t)
	d := start(t, setup{conflists: map[string]string{
		"lan": plainDHCP, "six": strings.Replace(plainDHCP, `"dhcp"}`, `"dhcp","ipv4":false,"ipv6":true}`, 1),
	}, grants: map[string][]policy.Grant{"lan": {grantOf(t, alice, "192.0.2.0/24", "203.0.113.1")}, "six": {grantOf(t, alice, "192.0.2.0/24")}}})
	s, dir := sandboxWithDir(t, alice)
	with := func(resource string, n int, ips ...string) *guest {
		g := d.guest(s, dir, resource, fmt.Sprintf("c%d", n), n)
		g.q.StaticIps = ips
		return g
	}
	if r := with("lan", 1, "192.0.2.133").attach(); r.Ips[0].Address != "192.0.2.133/24" {
		t.Errorf("asked for 192.0.2.133, got %s", r.Ips[0].Address)
	}
	refused := func(g *guest, code api.ProblemCode, says string) {
		t.Helper()
		_, response := d.attach(g.s, g.resource, g.q)
		if p := wantProblem(t, response, code); !strings.Contains(p.Detail, says) {
			t.Errorf("the user reads %q, want %q in it", p.Detail, says)
		}
	}
	refused(with("lan", 2, "192.0.2.133"), api.AddressUnavailable, "choose another address")
	refused(with("lan", 3, "203.0.113.1"), api.AddressUnavailable, "choose another address")
	refused(with("lan", 4, "192.0.2.134", "192.0.2.135"), api.AddressUnavailable, "gives one address")
	refused(with("lan", 5, "2001:db8::1"), api.AddressNotPermitted, "--ip6")
	refused(with("lan", 6, "198.51.100.1"), api.AddressNotPermitted, "without --ip")
	refused(with("six", 8, "192.0.2.138"), api.AddressUnavailable, "no IPv4")
	mac := with("lan", 7, "192.0.2.137")
	mac.q.StaticMac = "02:00:00:00:00:07"
	refused(mac, api.AddressNotPermitted, "--mac-address")
}

// What the daemon knows of a lease is in the list of attachments.
func TestLeaseIsShown(t *testing.T) {
	testlab.NewLAN(t, testlab.WithDnsmasq("--dhcp-option=option:ntp-server,192.0.2.3", "--dhcp-option=option:mtu,1400"))
	d := start(t, setup{conflists: map[string]string{"lan": plainDHCP}})
	s, dir := sandboxWithDir(t, alice)
	d.guest(s, dir, "lan", "web", 1).attach()
	var list api.AttachmentList
	ok(t, json.Unmarshal(d.get(s, "/v1/attachments").Body, &list))
	r := list.Attachments[0].Result
	l := r.Lease
	if l.Server != "192.0.2.1" || l.Address != r.Ips[0].Address || l.State != "bound" || !strings.HasPrefix(l.ClientID, "ff") ||
		l.Mtu != 1400 || len(l.Ntp) != 1 || l.Ntp[0] != "192.0.2.3" {
		t.Errorf("the lease is shown as %+v", l)
	}
	if l.T1 == nil || l.T2 == nil || l.Expires == nil || !l.Acquired.Before(*l.T1) || !l.T1.Before(*l.T2) || !l.T2.Before(*l.Expires) {
		t.Errorf("its times: acquired %v, T1 %v, T2 %v, expires %v", l.Acquired, l.T1, l.T2, l.Expires)
	}
	if r.Interfaces[0].Mtu != 1400 {
		t.Errorf("the interface's MTU is shown as %d", r.Interfaces[0].Mtu)
	}
	if !netip.MustParsePrefix("192.0.2.0/24").Contains(netip.MustParsePrefix(l.Address).Addr()) {
		t.Errorf("address %s", l.Address)
	}
}
