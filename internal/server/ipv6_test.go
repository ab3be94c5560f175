package server

import (
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/testlab"
)

var lanIPv6 = netip.MustParsePrefix("2001:db8:1::/64")

// ipv6LAN is a LAN with a router that advertises lanIPv6, and what else dnsmasq is told.
func ipv6LAN(t *testing.T, args ...string) *testlab.LAN {
	t.Helper()
	args = append([]string{"--dhcp-range=192.0.2.100,192.0.2.200,255.255.255.0,1h"}, args...)
	lan := testlab.NewLAN(t, testlab.WithoutServer(), testlab.WithDnsmasq(args...))
	ok(t, lan.Do(func() error {
		return exec.Command("ip", "addr", "add", "2001:db8:1::1/64", "dev", "lan0", "nodad").Run()
	}))
	lan.StartServer()
	return lan
}

func addressesIn(r api.AttachResult, prefix netip.Prefix) []string {
	var in []string
	for _, ip := range r.Ips {
		if prefix.Contains(netip.MustParsePrefix(ip.Address).Addr()) {
			in = append(in, ip.Address)
		}
	}
	return in
}

// Stateless autoconfiguration (RFC 4862) works, and the result waits for it if it is told to.
func TestAddressesOfRouterAdvertisements(t *testing.T) {
	ipv6LAN(t, "--enable-ra", "--dhcp-range=2001:db8:1::,ra-only")
	d := start(t, setup{
		conflists: map[string]string{"lan": plainDHCP, "waits": plainDHCP, "fixed": staticConflist},
		settings: map[string]Settings{
			"waits": {IPv6Wait: 20 * time.Second}, "fixed": {IPv6Wait: 20 * time.Second},
		},
	})
	s, dir := sandboxWithDir(t, alice)
	for i, resource := range []string{"waits", "fixed"} {
		g := d.guest(s, dir, resource, "web", i)
		r := g.attach()
		got := addressesIn(r, lanIPv6)
		if len(got) != 1 || !strings.HasSuffix(got[0], "/64") {
			t.Errorf("%s: the result has %v, want an address of the advertised prefix", resource, r.Ips)
		}
		inside := s.Exec("nsenter", "--net="+g.q.Netns, "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global")
		if len(got) == 1 && !strings.Contains(inside, got[0]) {
			t.Errorf("%s: the interface has %s", resource, inside)
		}
		if route := s.Exec("nsenter", "--net="+g.q.Netns, "ip", "-6", "route"); !strings.Contains(route, "default via fe80::") {
			t.Errorf("%s: no default route by the advertisement:\n%s", resource, route)
		}
		// What podman replays at a reload has the address of the advertisement, too.
		g.detach()
		q := g.q
		q.StaticMac = r.Interfaces[0].Mac
		for _, ip := range r.Ips {
			q.StaticIps = append(q.StaticIps, netip.MustParsePrefix(ip.Address).Addr().String())
		}
		g.q = q
		if again := g.attach(); !slices.Equal(again.Ips, r.Ips) {
			t.Errorf("%s: after a reload %v, before %v", resource, again.Ips, r.Ips)
		}
	}
	if got := addressesIn(d.guest(s, dir, "lan", "quick", 9).attach(), lanIPv6); len(got) != 0 {
		t.Errorf("without a wait the result has %v", got)
	}
}

// A LAN without any router: the wait ends, and the attachment is there.
func TestWaitForIPv6ThatNeverComes(t *testing.T) {
	testlab.NewLAN(t)
	d := start(t, setup{conflists: map[string]string{"lan": plainDHCP}, settings: map[string]Settings{"lan": {IPv6Wait: 200 * time.Millisecond}}})
	s, dir := sandboxWithDir(t, alice)
	if r := d.guest(s, dir, "lan", "web", 1).attach(); len(r.Ips) != 1 {
		t.Errorf("the result has %v", r.Ips)
	}
}

// "ipv6": true in ipam: an address of a DHCPv6 server, and its release.
func TestDHCPv6(t *testing.T) {
	lan := ipv6LAN(t, "--dhcp-range=2001:db8:1::100,2001:db8:1::1ff,64,1h", "--dhcp-option=option6:dns-server,[2001:db8:1::53]")
	d := start(t, setup{conflists: map[string]string{
		"both": strings.Replace(plainDHCP, `"dhcp"}`, `"dhcp","ipv6":true}`, 1),
		"six":  strings.Replace(plainDHCP, `"dhcp"}`, `"dhcp","ipv4":false,"ipv6":true}`, 1),
	}})
	s, dir := sandboxWithDir(t, alice)
	var before string
	for i := range 2 {
		g := d.guest(s, dir, "both", "web", i)
		r := g.attach()
		got := addressesIn(r, lanIPv6)
		if len(got) != 1 || !strings.HasSuffix(got[0], "/128") || len(r.Ips) != 2 {
			t.Fatalf("the result has %v, want one address of each family", r.Ips)
		}
		l := r.LeaseIpv6
		if l == nil || r.Lease == nil || l.Address != got[0] || l.State != "bound" || l.T1 == nil || l.Expires == nil ||
			!strings.HasPrefix(l.ClientID, "0004") || !strings.HasSuffix(r.Lease.ClientID, l.ClientID) {
			t.Errorf("leases %+v and %+v", r.Lease, l)
		}
		if !slices.Contains(r.DNS.Nameservers, "2001:db8:1::53") || !slices.Contains(r.DNS.Nameservers, "192.0.2.1") {
			t.Errorf("name servers %v", r.DNS.Nameservers)
		}
		inside := s.Exec("nsenter", "--net="+g.q.Netns, "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global")
		if !strings.Contains(inside, got[0]) {
			t.Errorf("the interface has %s", inside)
		}
		if before != "" && got[0] != before {
			t.Errorf("the next container of the name has %s, the one before had %s", got[0], before)
		}
		before = got[0]
		g.detach()
		lan.WaitLog("DHCPRELEASE(lan0) 00:")
		d.wantNothingLeft()
	}
	r := d.guest(s, dir, "six", "web", 5).attach()
	if len(r.Ips) != 1 || len(addressesIn(r, lanIPv6)) != 1 || r.Lease != nil {
		t.Errorf("IPv6 alone: %v", r.Ips)
	}
}

// What podman replays at a reload is no wish of the user's where it was none before, though
// it is granted: the network gives it, and no grant that is withdrawn takes it away.
func TestReloadOfAddressesThatAreGranted(t *testing.T) {
	ipv6LAN(t, "--enable-ra", "--dhcp-range=2001:db8:1::,ra-only")
	d := start(t, setup{
		conflists: map[string]string{"waits": plainDHCP}, settings: map[string]Settings{"waits": {IPv6Wait: 20 * time.Second}},
		grants: map[string][]policy.Grant{"waits": {grantOf(t, alice, "192.0.2.0/24", "2001:db8::/32")}},
	})
	s, dir := sandboxWithDir(t, alice)
	g := d.guest(s, dir, "waits", "web", 0)
	r := g.attach()
	if len(addressesIn(r, lanIPv6)) != 1 {
		t.Fatalf("the result has %v", r.Ips)
	}
	g.detach()
	g.q.StaticMac = r.Interfaces[0].Mac
	for _, ip := range r.Ips {
		g.q.StaticIps = append(g.q.StaticIps, netip.MustParsePrefix(ip.Address).Addr().String())
	}
	if again := g.attach(); !slices.Equal(again.Ips, r.Ips) {
		t.Errorf("after a reload %v, before %v", again.Ips, r.Ips)
	}
	if record := d.manager.List()[0]; len(record.Static) > 0 {
		t.Errorf("on record as the user's choice are %v", record.Static)
	}
	g.detach()
	// In another container they are one, and DHCP has IPv4 alone to give.
	g.q.Netns, g.q.StaticMac = container(t, s, dir), ""
	_, answer := d.attach(s, "waits", g.q)
	wantProblem(t, answer, api.AddressUnavailable)
	g.q.StaticIps = g.q.StaticIps[:1]
	if again := g.attach(); len(again.Ips) == 0 || again.Ips[0].Address != r.Ips[0].Address {
		t.Errorf("as a choice: %v", again.Ips)
	}
	// So they are again when that one is started anew, in another namespace of its own.
	for range 2 {
		if record := d.manager.List()[0]; len(record.Static) != 1 {
			t.Errorf("on record as the user's choice are %v", record.Static)
		}
		g.detach()
		g.q.Netns = container(t, s, dir)
		g.attach()
	}
}
