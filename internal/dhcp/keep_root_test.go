package dhcp

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// The lease of these LANs is one hour, as dnsmasq's clock does not go with the test's.
const (
	t1       = 30 * time.Minute
	t2       = 52*time.Minute + 30*time.Second
	lifetime = time.Hour
)

func TestRenewalAtT1(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	before := k.held()
	mark := len(lan.Log())
	k.to(t1, "renew ok")
	if l := k.held(); l.Acquired != before.Acquired+t1 || l.Address != before.Address {
		t.Errorf("after the renewal %+v", l)
	}
	k.wantState(Bound)
	k.wantOn(ns, before.Address.String()+", default via 192.0.2.1")
	if log := lan.Log()[mark:]; strings.Contains(log, "DHCPDISCOVER") || !strings.Contains(log, "DHCPREQUEST") {
		t.Errorf("the server saw:\n%s", log)
	}
}

// The server is away: renewing, rebinding, expiry, recovery; the link stays up.
func TestServerThatIsAwayIsRetriedAndNotForgotten(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	addr := k.held().Address.String()
	has := addr + ", default via 192.0.2.1"
	lan.StopServer()
	k.to(t1, "renew no-ack")
	k.wantState(Renewing)
	k.wantOn(ns, has)
	k.to(t2, "rebind no-ack")
	k.wantState(Rebinding)
	k.wantOn(ns, has)
	k.to(lifetime, "discover no-offer")
	k.wantState(Selecting)
	k.wantOn(ns, "")
	k.Summary(func(_ string, byState map[string]int, toExpiry time.Duration, ends bool) {
		if !ends || toExpiry != 0 || byState["selecting"] != 1 || byState["bound"] != 0 {
			t.Errorf("by state %v; time to the worst expiry %v, %v", byState, toExpiry, ends)
		}
	})
	up(t, ns)

	lan.StartServer()
	k.to(lifetime+maxBackoff, "discover ok")
	k.wantState(Bound)
	k.wantOn(ns, has)
	lan.Ping(k.held().Address.Addr())
	if k.obs.addressChanges() != 0 {
		t.Error("a change of address was counted, though it is the same")
	}
}

func up(t *testing.T, ns *testlab.Netns) {
	t.Helper()
	if err := ns.Do(func() error {
		dev, err := net.InterfaceByName(testIfname)
		if err == nil && dev.Flags&net.FlagUp == 0 {
			err = errors.New("the interface is down")
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// The server knows other things than when it granted the address: a NAK, and then
// another address with other routes, applied where the container is.
func TestAnotherAddressIsAppliedInPlace(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithDnsmasq("--dhcp-option=option:router,192.0.2.1"))
	k := newKeeper(t)
	ns := k.attach("")
	old := k.held().Address
	lan.StopServer()
	lan.Server().Configure("--dhcp-range=192.0.2.20,192.0.2.29,255.255.255.0,1h",
		"--dhcp-option=option:classless-static-route,198.51.100.0/24,192.0.2.7,0.0.0.0/0,192.0.2.1")
	lan.StartServer()
	k.to(t1, "renew nak", "discover ok")
	l := k.held()
	if !netip.MustParsePrefix("192.0.2.16/28").Contains(l.Address.Addr()) || l.Address == old {
		t.Errorf("the address is %s, before %s", l.Address, old)
	}
	k.wantOn(ns, l.Address.String()+", default via 192.0.2.1, 198.51.100.0/24 via 192.0.2.7")
	lan.Ping(l.Address.Addr())
	if k.obs.addressChanges() != 1 {
		t.Errorf("%d changes of address were counted", k.obs.addressChanges())
	}
	if !strings.Contains(k.log.String(), "a DHCP lease has changed") {
		t.Error("the change was not logged")
	}
	if l.Undone != nil {
		t.Error("the change is not finished")
	}
}

// Mask, routers and routes of a renewal count at once; what the container's root has
// added stays.
func TestOptionsOfARenewalAreApplied(t *testing.T) {
	const lower = "--dhcp-range=192.0.2.100,192.0.2.120,255.255.255.0,1h"
	lan := testlab.NewLAN(t, testlab.WithDnsmasq(lower, "--dhcp-option=option:router,192.0.2.1"))
	k := newKeeper(t)
	ns := k.attach("")
	addr := k.held().Address.Addr()
	if err := ns.Do(func() error { return ip("route", "add", "203.0.113.0/24", "via", "192.0.2.50") }); err != nil {
		t.Fatal(err)
	}
	lan.StopServer()
	lan.Server().Configure(lower, "--dhcp-option=option:router,192.0.2.3", "--dhcp-option=option:mtu,1400", "--dhcp-option=1,255.255.255.128")
	lan.StartServer()
	k.to(t1, "renew ok")
	k.wantOn(ns, addr.String()+"/25, default via 192.0.2.3, 203.0.113.0/24 via 192.0.2.50")
	if got := mtu(t, ns); got != 1400 {
		t.Errorf("the MTU is %d", got)
	}
}

func mtu(t *testing.T, ns *testlab.Netns) (size int) {
	t.Helper()
	if err := ns.Do(func() error {
		dev, err := net.InterfaceByName(testIfname)
		if err == nil {
			size = dev.MTU
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return size
}

// What the kernel refuses of a grant does not keep the lease from being prolonged, and
// from its end. The container's root can bring that about, and so can the LAN.
func TestRouteThatIsRefusedIsLeftOut(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	addr := k.held().Address.String()
	if err := ns.Do(func() error { return ip("route", "flush", "dev", testIfname) }); err != nil { // the connected one, too
		t.Fatal(err)
	}
	lan.StopServer()
	lan.Server().Configure("--dhcp-option=option:router,192.0.2.3")
	lan.StartServer()
	k.to(t1, "renew ok")
	k.wantOn(ns, addr)
	k.to(t1, "renew ok")
	if !strings.Contains(k.log.String(), "routes that the DHCP server names cannot be used") {
		t.Error("nothing was logged")
	}
	lan.StopServer()
	k.to(lifetime-time.Second, "rebind no-ack")
	k.to(lifetime, "discover no-offer")
	k.wantOn(ns, "")
}
