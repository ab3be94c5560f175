package dhcp

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// newKeeper6 is a keeper on a LAN with a DHCPv6 server, whose leases are one hour.
func newKeeper6(t *testing.T) (*keeper, *testlab.LAN) {
	t.Helper()
	lan := testlab.NewLAN(t, testlab.WithoutServer(), testlab.WithDnsmasq(
		"--dhcp-range=192.0.2.100,192.0.2.200,255.255.255.0,1h", "--dhcp-range=2001:db8:1::100,2001:db8:1::1ff,64,1h"))
	if err := lan.Do(func() error { return ip("addr", "add", "2001:db8:1::1/64", "dev", "lan0", "nodad") }); err != nil {
		t.Fatal(err)
	}
	lan.StartServer()
	k := newKeeper(t)
	return k, lan
}

// attach6 attaches the test's container with an IPv6 address alone.
func (k *keeper) attach6() *testlab.Netns {
	k.t.Helper()
	ns := testlab.NewNetns(k.t)
	e := k.expect(Attachment{Namespace: ns, Probe: true, Identity: Identity{DUID: []byte("\x00\x04some-container-id"), IAID: 1}})
	k.result(k.plugin("macvlan", "ADD", testID, ns.Path(), `"ipv4":false,"ipv6":true`))
	k.place(testID, ns)
	e.Done()
	k.saw("acquire6 ok")
	return ns
}

func (k *keeper) wantAddress6(ns *testlab.Netns, want string) {
	k.t.Helper()
	var has []string
	err := ns.Do(func() error {
		dev, err := netlink.LinkByName(testIfname)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(dev, netlink.FAMILY_V6)
		for _, a := range addrs {
			if a.Scope == int(netlink.SCOPE_UNIVERSE) {
				has = append(has, a.IPNet.String())
			}
		}
		return err
	})
	if err != nil || strings.Join(has, " ") != want {
		k.t.Errorf("the interface has %q, want %q (%v)\n%s", has, want, err, k.log)
	}
}

func TestLifeOfADHCPv6Lease(t *testing.T) {
	k, lan := newKeeper6(t)
	ns := k.attach6()
	l := k.held()
	if l.Family != IPv6 || l.Address.Bits() != 128 || l.T1 >= l.T2 || l.T2 >= l.Lifetime {
		t.Fatalf("the lease is %+v", l)
	}
	addr := l.Address.String()
	k.clock.advance(laterProbes * probeEvery) // they find nobody else
	k.to(l.T1, "renew6 ok")
	k.wantState(Bound)
	if got := k.held(); got.Address != l.Address || got.Acquired != l.Acquired+l.T1 {
		t.Errorf("after the renewal %+v", got)
	}
	k.wantAddress6(ns, addr)

	lan.StopServer()
	k.to(l.T1, "renew6 no-ack")
	k.wantState(Renewing)
	k.to(l.T2, "rebind6 no-ack")
	k.wantState(Rebinding)
	k.wantAddress6(ns, addr)
	k.to(l.Lifetime, "discover6 no-offer")
	k.wantState(Selecting)
	k.wantAddress6(ns, "")
	up(t, ns)
	lan.StartServer()
	k.to(l.Lifetime+2*maxBackoff, "discover6 ok")
	k.wantAddress6(ns, addr)

	k.crash(l.Lifetime + time.Minute)
	k.saw("reboot6 ok")
	k.idle()
	k.wantState(Bound)
	k.wantAddress6(ns, addr)

	k.expect(Attachment{Namespace: ns})
	if _, err := output(k.plugin("macvlan", "DEL", testID, ns.Path(), "")); err != nil {
		t.Fatal(err)
	}
	k.wantNoLease()
	lan.Server().WaitLeases("still has the lease", func(leases string) bool { return !strings.Contains(leases, strings.TrimSuffix(addr, "/128")) })
}

func TestDHCPv6AddressThatAnotherMachineHasIsDeclined(t *testing.T) {
	k, lan := newKeeper6(t)
	ns := k.attach6()
	taken := k.held().Address.Addr()
	e := k.expect(Attachment{Namespace: ns})
	if _, err := output(k.plugin("macvlan", "DEL", testID, ns.Path(), "")); err != nil {
		t.Fatal(err)
	}
	e.Done()
	k.saw("release6 ok")
	if err := lan.NewContainerNS("eth0").Do(func() error {
		return errors.Join(ip("link", "set", "eth0", "up"), ip("addr", "add", taken.String()+"/64", "dev", "eth0", "nodad"))
	}); err != nil {
		t.Fatal(err)
	}
	ns = k.attach6()
	if got := k.held().Address.Addr(); got != taken {
		t.Fatalf("the server granted %s, and %s before", got, taken)
	}
	for failed := false; !failed && t.Context().Err() == nil; { // the kernel takes its time
		if err := ns.Do(func() error {
			dev, err := netlink.LinkByName(testIfname)
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(dev, netlink.FAMILY_V6)
			for _, a := range addrs {
				failed = failed || a.Flags&unix.IFA_F_DADFAILED != 0
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	k.clock.advance(laterProbes * probeEvery)
	k.saw("decline6 ok")
	k.saw("discover6 ok")
	k.idle()
	if got := k.held().Address; got.Addr() == taken {
		t.Errorf("the address is still %s", got)
	}
	k.wantAddress6(ns, k.held().Address.String())
	lan.WaitLog("DHCPDECLINE")
}

// The container's root, or the LAN by an MTU, can switch IPv6 off: that is an error like
// any other.
func TestIPv6ThatIsSwitchedOffIsAClearError(t *testing.T) {
	k, _ := newKeeper6(t)
	off := func(ns *testlab.Netns, name string) {
		t.Helper()
		if err := ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0) }); err != nil {
			t.Fatal(err)
		}
	}
	ns := testlab.NewNetns(t)
	off(ns, "default")
	e := k.expect(Attachment{ID: "1000.off", Namespace: ns})
	_, err := output(k.plugin("macvlan", "ADD", "1000.off", ns.Path(), `"ipv4":false,"ipv6":true`))
	if err == nil || !strings.Contains(err.Error(), "IPv6 is disabled") || strings.Contains(err.Error(), "internal error") {
		t.Errorf("the user reads: %v", err)
	}
	e.Done()
	k.saw("acquire6 error")

	ns = k.attach6()
	k.idle()
	off(ns, testIfname)
	k.clock.advance(k.held().T1)
	k.saw("renew6 error")
	if strings.Contains(k.log.String(), "panic") {
		t.Error("it was a panic")
	}
}
