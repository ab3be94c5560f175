package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

// Another machine has the address and was asleep when it was granted.
func TestLateConflictIsDeclined(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	ns := testlab.NewNetns(t)
	e := k.expect(Attachment{Namespace: ns, Probe: true})
	k.result(k.plugin("macvlan", "ADD", testID, ns.Path(), ""))
	k.place(testID, ns)
	e.Done()
	k.saw("acquire ok")
	taken := k.held().Address
	machine(t, lan, taken)
	k.idle()
	k.clock.advance(probeEvery)
	k.saw("decline ok")
	k.saw("discover ok")
	k.idle()
	lan.WaitLog("DHCPDECLINE(lan0) " + taken.Addr().String())
	if got := k.held().Address; got == taken {
		t.Errorf("the address is still %s", got)
	}
	k.wantOn(ns, k.held().Address.String()+", default via 192.0.2.1")
}

func TestConflictAtAttachIsDeclinedAndAnotherAddressTaken(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	machine(t, lan, netip.MustParsePrefix("192.0.2.150/24"))
	e := h.expect(Attachment{Namespace: ns, Probe: true, Wish: grant.Wish{Address: netip.MustParseAddr("192.0.2.150")}})
	got := h.add(testID, ns, seedIPAM).IPs[0].Address.IP.String()
	lan.WaitLog("DHCPDECLINE(lan0) 192.0.2.150")
	if got == "192.0.2.150" {
		t.Errorf("the container has %s, which another machine has", got)
	}
	e.Done()

	// Without the key nobody is asked.
	taken := "192.0.2.151"
	if got == taken { // the server gives the one after it at times
		taken = "192.0.2.152"
	}
	other := lan.NewContainerNS(testIfname)
	machine(t, lan, netip.MustParsePrefix(taken+"/24"))
	h.expect(Attachment{ID: "1000.other", Namespace: other, Wish: grant.Wish{Address: netip.MustParseAddr(taken)}})
	if got := h.add("1000.other", other, seedIPAM).IPs[0].Address.IP.String(); got != taken {
		t.Errorf("got %s, want %s", got, taken)
	}
}

// machine puts another machine on the LAN that has an address of its own choice.
func machine(t *testing.T, lan *testlab.LAN, addr netip.Prefix) {
	t.Helper()
	if err := lan.NewContainerNS("eth0").Do(func() error {
		return errors.Join(ip("link", "set", "eth0", "up"), ip("addr", "add", addr.String(), "dev", "eth0"))
	}); err != nil {
		t.Fatal(err)
	}
}

// A container that died without a detach: its lease is given back from the parent link.
func TestReleaseOfADeadNamespaceReachesTheServer(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	addr := k.held().Address.Addr()
	gone := deathOf(t, ns)
	ns.Close()
	gone()
	k.expect(Attachment{})
	if _, err := output(k.plugin("macvlan", "DEL", testID, "", "")); err != nil {
		t.Fatal(err)
	}
	k.wantNoLease()
	released(t, lan, addr)
}

func TestWishThatTheServerDoesNotGrantIsAClearError(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	for i, tt := range []struct {
		wish string
		err  error
	}{
		{"192.0.2.177", nil},
		{"192.0.2.177", grant.ErrOther},     // the first one's
		{"192.0.2.9", grant.ErrOther},       // outside of the range
		{"203.0.113.5", grant.ErrOther},     // outside of the network
		{testlab.LANServer, grant.ErrOther}, // the server's own
	} {
		ns := lan.NewContainerNS(testIfname)
		id := fmt.Sprintf("1000.wish%d", i)
		e := h.expect(Attachment{ID: id, Namespace: ns, Wish: grant.Wish{Address: netip.MustParseAddr(tt.wish), Strict: true}})
		out, err := output(h.plugin("dhcp", "ADD", id, ns.Path(), seedIPAM))
		if (err == nil) != (tt.err == nil) || !errors.Is(e.Err(), tt.err) {
			t.Errorf("%s: %s, %v, want %v", tt.wish, out, err, tt.err)
		}
		if tt.err != nil && len(h.Leases(id, testIfname)) != 0 {
			t.Errorf("%s: a lease is held", tt.wish)
		}
	}
}
