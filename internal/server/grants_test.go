package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/addrrange"
	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/testlab"
)

// grantOf grants addresses to a user, IP and MAC.
func grantOf(t *testing.T, u testlab.User, ranges ...string) policy.Grant {
	t.Helper()
	g := policy.Grant{Rule: "a test's grant", Users: []uint32{u.UID}}
	for _, text := range ranges {
		if mac, err := addrrange.ParseMAC(text); err == nil {
			g.MACs = append(g.MACs, mac)
			continue
		}
		g.IPs = append(g.IPs, must(addrrange.ParseIP(text))(t))
	}
	return g
}

// dualStack gives addresses of both families, with gateways and routes.
const dualStack = `{"cniVersion":"1.0.0","name":"fixed","plugins":[{"type":"macvlan","master":"infra","ipam":{"type":"static",
	"addresses":[{"address":"192.0.2.50/24","gateway":"192.0.2.1"},{"address":"2001:db8::50/64"}],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

// Granted addresses are given by static and host-local, with what the conflist says of
// their networks; and they are on the interface.
func TestGrantedAddressesAreGiven(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithoutServer())
	hostLocal := `{"cniVersion":"1.0.0","name":"local","plugins":[{"type":"macvlan","master":"infra","ipam":{"type":"host-local","dataDir":"` + t.TempDir() +
		`","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.100","rangeEnd":"192.0.2.120","gateway":"192.0.2.1"}],[{"subnet":"2001:db8::/64"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`
	all := []policy.Grant{grantOf(t, alice, "192.0.2.96/27", "2001:db8::/64", "02:00:00:aa:00:00-02:00:00:aa:00:ff")}
	d := start(t, setup{
		conflists: map[string]string{"fixed": dualStack, "local": hostLocal},
		users:     []testlab.User{alice, eve}, grants: map[string][]policy.Grant{"fixed": all, "local": all},
	})
	s, dir := sandboxWithDir(t, alice)
	for i, resource := range []string{"fixed", "local"} {
		t.Run(resource, func(t *testing.T) {
			ns := container(t, s, dir)
			ip, ip6, mac := fmt.Sprintf("192.0.2.%d", 105+i), fmt.Sprintf("2001:db8::%d", 7+i), fmt.Sprintf("02:00:00:aa:00:0%d", i)
			q := api.AttachRequest{ContainerID: fmt.Sprint("c", i), InterfaceName: "eth0", Netns: ns, StaticIps: []string{ip, ip6}, StaticMac: mac}
			result, r := d.attach(s, resource, q)
			if r.Status != http.StatusOK {
				t.Fatalf("attach: %d %s", r.Status, r.Body)
			}
			var got []string
			for _, a := range result.Ips {
				got = append(got, a.Address)
			}
			slices.Sort(got)
			if want := []string{ip + "/24", ip6 + "/64"}; !slices.Equal(got, want) || result.Interfaces[0].Mac != mac {
				t.Errorf("got %v and %s, want %v and %s", got, result.Interfaces[0].Mac, want, mac)
			}
			if out := s.Exec("nsenter", "--net="+ns, "ip", "-4", "route"); !strings.Contains(out, "default via 192.0.2.1") {
				t.Errorf("the gateway of the conflist is lost:\n%s", out)
			}
			lan.Ping(netip.MustParseAddr(ip))

			// Nobody else may have them while they are held, and eve never.
			other := container(t, s, dir)
			for _, tt := range []struct {
				ip, mac, says string
			}{{ip, "", ip + " is held by another attachment of yours"}, {ip6, "", ip6 + " is held"}, {"", mac, mac + " is held"}} {
				again := api.AttachRequest{ContainerID: "other", InterfaceName: "eth0", Netns: other, StaticMac: tt.mac}
				if tt.ip != "" {
					again.StaticIps = []string{tt.ip}
				}
				_, r := d.attach(s, resource, again)
				if p := wantProblem(t, r, api.AddressUnavailable); r.Status != http.StatusConflict || !strings.Contains(p.Detail, tt.says) {
					t.Errorf("the user reads %d %q", r.Status, p.Detail)
				}
			}
			e, eves := sandboxWithDir(t, eve)
			_, r = d.attach(e, resource, api.AttachRequest{ContainerID: "e", InterfaceName: "eth0", Netns: container(t, e, eves), StaticIps: []string{"192.0.2.110"}})
			if p := wantProblem(t, r, api.AddressNotPermitted); !strings.Contains(p.Detail, "192.0.2.110 is not granted to you") {
				t.Errorf("eve reads %q", p.Detail)
			}
			if status := d.detach(s, resource, api.DetachRequest{ContainerID: q.ContainerID, InterfaceName: "eth0", Netns: ns}).Status; status != http.StatusNoContent {
				t.Errorf("detach: %d", status)
			}
			// What network reload sends back is granted, or what it was.
			if result, _ := d.attach(s, resource, q); len(result.Ips) != 2 || result.Interfaces[0].Mac != mac {
				t.Errorf("after a reload it has %+v", result)
			}
			if r := d.manager.List()[0]; len(r.Static) != 2 || r.StaticMAC != mac {
				t.Errorf("on record as the user's choice are %v and %q after a reload", r.Static, r.StaticMAC)
			}
			d.detach(s, resource, api.DetachRequest{ContainerID: q.ContainerID, InterfaceName: "eth0", Netns: ns})
		})
	}
	d.wantNothingLeft()
}

// What the network has no place for is refused with the reason, granted or not.
func TestGrantedAddressesThatCannotBe(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"fixed": dualStack}, grants: map[string][]policy.Grant{"fixed": {grantOf(t, alice, "0.0.0.0/0", "::/0")}}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	for ip, says := range map[string]string{
		"198.51.100.7": "in none of the networks", "192.0.2.1": "gateway's own", "192.0.2.0": "of the network", "192.0.2.255": "broadcast", "2001:db8:1::1": "in none of the networks",
	} {
		_, r := d.attach(s, "fixed", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns, StaticIps: []string{ip}})
		if p := wantProblem(t, r, api.AddressUnavailable); !strings.Contains(p.Detail, says) {
			t.Errorf("%s: the user reads %q", ip, p.Detail)
		}
	}
	d.wantNothingLeft()
}

// A network reload of a container with a granted address and a MAC of its own making.
func TestReloadKeepsAGrantedAddress(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"fixed": dualStack}, grants: map[string][]policy.Grant{"fixed": {grantOf(t, alice, "192.0.2.96/27")}}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	q := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns, StaticIps: []string{"192.0.2.105"}}
	before, r := d.attach(s, "fixed", q)
	if r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	detach := api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}
	d.detach(s, "fixed", detach)
	q.StaticMac = before.Interfaces[0].Mac
	after, r := d.attach(s, "fixed", q)
	if r.Status != http.StatusOK || after.Ips[0].Address != "192.0.2.105/24" || after.Interfaces[0].Mac != q.StaticMac {
		t.Errorf("after a reload: %d %s", r.Status, r.Body)
	}
	d.detach(s, "fixed", detach)
	// Elsewhere that MAC is nobody's by right.
	q.Netns = container(t, s, dir)
	_, r = d.attach(s, "fixed", q)
	if p := wantProblem(t, r, api.AddressNotPermitted); !strings.Contains(p.Detail, "the MAC address "+q.StaticMac) {
		t.Errorf("the user reads %q", p.Detail)
	}
	d.wantNothingLeft()
}

func TestQuota(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	grant := grantOf(t, eve)
	grant.Most = 3
	d := start(t, setup{
		conflists: map[string]string{"lan": staticConflist, "more": strings.Replace(staticConflist, `"lan"`, `"more"`, 1)},
		users:     []testlab.User{alice, eve}, mostPerUser: 2, mostInAll: 4, grants: map[string][]policy.Grant{"lan": {grant}},
	})
	ask := func(s *testlab.Sandbox, ns, resource string, n int) testlab.Response {
		_, r := d.attach(s, resource, api.AttachRequest{ContainerID: containerID, InterfaceName: fmt.Sprint("eth", n), Netns: ns})
		return r
	}
	for _, tt := range []struct {
		user   testlab.User
		most   int
		inMore int // beside those
	}{{alice, 2, 2}, {eve, 3, 1}} {
		s, dir := sandboxWithDir(t, tt.user)
		ns := container(t, s, dir)
		for n := range tt.most {
			if r := ask(s, ns, "lan", n); r.Status != http.StatusOK {
				t.Errorf("%d of %d: %d %s", n+1, tt.most, r.Status, r.Body)
			}
		}
		want := fmt.Sprintf("you have %d attachments on resource lan, and may have no more", tt.most)
		if p := wantProblem(t, ask(s, ns, "lan", 9), api.QuotaExceeded); !strings.Contains(p.Detail, want) {
			t.Errorf("the user reads %q", p.Detail)
		}
		for n := range tt.inMore {
			if r := ask(s, ns, "more", 10+n); r.Status != http.StatusOK {
				t.Errorf("%d of %d on the other resource: %d %s", n+1, tt.inMore, r.Status, r.Body)
			}
		}
		if p := wantProblem(t, ask(s, ns, "more", 20), api.QuotaExceeded); tt.inMore < 2 && !strings.Contains(p.Detail, "on all resources together") {
			t.Errorf("the user reads %q", p.Detail)
		}
		d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
		if r := ask(s, ns, "lan", 0); r.Status != http.StatusOK {
			t.Errorf("after one was given back: %d %s", r.Status, r.Body)
		}
	}
}
