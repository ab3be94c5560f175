package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestSeedConfigurationGetsAddressHostNameAndDNSButNoRoute(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithDnsmasq("--dhcp-option=option:router,192.0.2.1",
		"--dhcp-option=option:dns-server,192.0.2.1,192.0.2.2", "--domain=lan.test",
		"--dhcp-option=option:domain-search,lan.test,example.org"))
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	e := h.expect(Attachment{Namespace: ns})
	r := h.add(testID, ns, seedIPAM)

	lease := h.held()
	if got := r.IPs[0].Address.String(); got != lease.Address.String() || lease.Address.Bits() != 24 {
		t.Errorf("result has %s, the lease %s", got, lease.Address)
	}
	if len(r.Routes) != 0 || r.IPs[0].Gateway != nil {
		t.Errorf("routes %v, gateway %v though only the mask was requested", r.Routes, r.IPs[0].Gateway)
	}
	if !slices.Equal(r.DNS.Nameservers, []string{"192.0.2.1", "192.0.2.2"}) || r.DNS.Domain != "lan.test" ||
		!slices.Equal(r.DNS.Search, []string{"lan.test", "example.org"}) {
		t.Errorf("DNS is %+v", r.DNS)
	}
	// The container's name is "web_1".
	if leases := lan.Leases(); !strings.Contains(leases, lease.Address.Addr().String()+" web_1 00:") {
		t.Errorf("no host name or client id in the server's leases:\n%s", leases)
	}
	if want := append([]byte{0}, testID+"/lan/eth0"...); string(lease.ClientID()) != string(want) {
		t.Errorf("client id %q, want %q", lease.ClientID(), want)
	}
	if lease.Server != netip.MustParseAddr(testlab.LANServer) || lease.Lifetime != time.Hour ||
		lease.T1 >= lease.T2 || lease.T2 >= lease.Lifetime {
		t.Errorf("lease %+v", lease)
	}
	if e.Err() != nil {
		t.Errorf("Err() = %v", e.Err())
	}
	// What is asked for is what was requested, and DNS.
	if strings.Contains(lan.Log(), "requested options: 1:netmask, 3:router") || !strings.Contains(lan.Log(), "1:netmask, 6:dns-server") {
		t.Errorf("asked for other options:\n%s", lan.Log())
	}
}

func TestRoutes(t *testing.T) {
	router := "--dhcp-option=option:router,192.0.2.1"
	classless := "--dhcp-option=option:classless-static-route,198.51.100.0/24,192.0.2.7,203.0.113.5/32,0.0.0.0"
	for _, tt := range []struct {
		name, ipam string
		dnsmasq    []string
		want       []string
	}{
		{"router by default", "", []string{router}, []string{"0.0.0.0/0 192.0.2.1"}},
		{"skipDefault false", `"request":[{"skipDefault":false,"option":"subnet-mask"}],"priority":7`, []string{router}, []string{"0.0.0.0/0 192.0.2.1 7"}},
		{"router requested", `"request":[{"skipDefault":true,"option":"routers"}]`, []string{router}, []string{"0.0.0.0/0 192.0.2.1"}},
		{"forced router not requested", `"request":[{"skipDefault":true,"option":"1"}]`, []string{"--dhcp-option-force=3,192.0.2.1"}, nil},
		{"classless wins over router", "", []string{router, classless}, []string{"203.0.113.5/32 0.0.0.0", "198.51.100.0/24 192.0.2.7"}},
		{"classless not requested", `"request":[{"skipDefault":true,"option":"routers"}]`, []string{router, classless}, []string{"0.0.0.0/0 192.0.2.1"}},
		{"static routes", "", []string{router, "--dhcp-option=33,10.0.0.0,192.0.2.9"}, []string{"10.0.0.0/8 192.0.2.9", "0.0.0.0/0 192.0.2.1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lan := testlab.NewLAN(t, testlab.WithDnsmasq(tt.dnsmasq...))
			h := newHarness(t)
			ns := lan.NewContainerNS(testIfname)
			h.expect(Attachment{Namespace: ns})
			var got []string
			for _, r := range h.add(testID, ns, tt.ipam).Routes {
				s := r.Dst.String() + " " + r.GW.String()
				if r.Priority != 0 {
					s += fmt.Sprint(" ", r.Priority)
				}
				got = append(got, s)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("routes %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRequestedAddressIsAskedFor(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	h.expect(Attachment{Namespace: ns, Wish: grant.Wish{Address: netip.MustParseAddr("192.0.2.177")}})
	if got := h.add(testID, ns, seedIPAM).IPs[0].Address.String(); got != "192.0.2.177/24" {
		t.Errorf("got %s", got)
	}
}

func TestCheckStartsNoExchange(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	h.expect(Attachment{Namespace: ns})
	first := h.add(testID, ns, seedIPAM).IPs[0].Address.String()
	lan.StopServer()
	if again := h.add(testID, ns, seedIPAM).IPs[0].Address.String(); again != first {
		t.Errorf("second call answers %s, first %s", again, first)
	}
}

func TestManyAtOnceGetDifferentAddresses(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		ns := lan.NewContainerNS(testIfname)
		id := fmt.Sprintf("1000.c%d", i)
		h.expect(Attachment{ID: id, Namespace: ns})
		wg.Go(func() {
			if _, err := output(h.plugin("dhcp", "ADD", id, ns.Path(), seedIPAM)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[netip.Prefix]bool{}
	for _, l := range h.All() {
		seen[l.Address] = true
	}
	if len(seen) != n {
		t.Errorf("%d addresses for %d containers", len(seen), n)
	}
}

func TestNoServerEndsWithErrNoOffer(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithoutServer())
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	e := h.expect(Attachment{Namespace: ns, Timeout: 2 * time.Second})
	_, err := output(h.plugin("dhcp", "ADD", testID, ns.Path(), seedIPAM))
	if err == nil || !strings.Contains(err.Error(), grant.ErrNoOffer.Error()) {
		t.Errorf("the plugin says %v", err)
	}
	if !errors.Is(e.Err(), grant.ErrNoOffer) {
		t.Errorf("Err() = %v", e.Err())
	}
	if got := <-h.obs.exchanges; got != "acquire no-offer" {
		t.Errorf("observed %q", got)
	}
}

func TestParentDownIsSaid(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithoutServer())
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	setLink(t, lan.ParentName, "down")
	e := h.expect(Attachment{Namespace: ns, Timeout: 2 * time.Second})
	if _, err := output(h.plugin("dhcp", "ADD", testID, ns.Path(), seedIPAM)); err == nil {
		t.Fatal("ADD succeeded")
	}
	if !errors.Is(e.Err(), grant.ErrLinkDown) {
		t.Errorf("Err() = %v", e.Err())
	}
}

func TestCarrierThatComesLateIsWaitedFor(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	if err := lan.Do(func() error { return ip("link", "set", "lan0", "down") }); err != nil {
		t.Fatal(err)
	}
	h.expect(Attachment{Namespace: &hookedNamespace{Namespace: ns, after: func() {
		if err := lan.Do(func() error { return ip("link", "set", "lan0", "up") }); err != nil {
			t.Error(err)
		}
	}}})
	h.add(testID, ns, seedIPAM)
}

func TestUnexpectedCallsAreRefused(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	h.expect(Attachment{ID: "1000.other", Namespace: ns})
	ended := h.expect(Attachment{Namespace: ns})
	ended.Done()
	for _, command := range []string{"ADD", "DEL"} {
		_, err := output(h.plugin("dhcp", command, testID, ns.Path(), seedIPAM))
		if err == nil || !strings.Contains(err.Error(), ErrUnexpected.Error()) {
			t.Errorf("%s: %v", command, err)
		}
	}
	if strings.Contains(lan.Log(), "DHCPDISCOVER") {
		t.Error("DHCP was spoken for a call that nobody expected")
	}
	if !strings.Contains(h.log.String(), "dhcp call failed") {
		t.Error("nothing was logged")
	}
}

func TestCallsNamespaceIsNeverUsed(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	mine, other := lan.NewContainerNS(testIfname), lan.NewContainerNS(testIfname)
	h.expect(Attachment{Namespace: mine})
	h.add(testID, other, seedIPAM)
	lease := h.held()
	if mac := macOf(t, mine); lease.MAC != mac {
		t.Errorf("the lease is for %s, want the expected namespace's %s", lease.MAC, mac)
	}
}

func TestNothingHoldsTheNamespace(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	gone := deathOf(t, ns)
	e := h.expect(Attachment{Namespace: ns})
	h.add(testID, ns, seedIPAM)
	e.Done()
	ns.Close()
	gone()
}

func TestSocketIsRootsAlone(t *testing.T) {
	h := newHarness(t)
	fi, err := os.Stat(h.opts.SocketPath)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}
