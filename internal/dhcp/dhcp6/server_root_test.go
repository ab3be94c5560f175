package dhcp6

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

func TestWholeLifeOfAnAddress(t *testing.T) {
	lan := newLAN(t, "--dhcp-option=option6:dns-server,[2001:db8:1::53],[2001:db8:1::54]",
		"--dhcp-option=option6:domain-search,lan.example,example", "--dhcp-option=option6:ntp-server,[2001:db8:1::123]")
	ns := container(t, lan)
	c := open(t, ns, 1, func(c *Config) { c.FQDN = "web.lan.example" })
	g := mustAcquire(t, c, lan, grant.Wish{})
	addr := g.Address.Addr()
	if g.Address.Bits() != 128 || !strings.HasPrefix(addr.String(), "2001:db8:1::1") {
		t.Errorf("address %s", g.Address)
	}
	if !slices.Equal(g.DNS, []netip.Addr{netip.MustParseAddr("2001:db8:1::53"), netip.MustParseAddr("2001:db8:1::54")}) ||
		!slices.Equal(g.Search, []string{"lan.example", "example"}) || !slices.Equal(g.NTP, []netip.Addr{netip.MustParseAddr("2001:db8:1::123")}) {
		t.Errorf("DNS %v, search %v, NTP %v", g.DNS, g.Search, g.NTP)
	}
	if g.Lifetime != 5*time.Minute || g.T1 <= 0 || g.T2 <= g.T1 || g.T2 >= g.Lifetime || g.Preferred != g.Lifetime {
		t.Errorf("T1 %s, T2 %s, preferred %s, lifetime %s", g.T1, g.T2, g.Preferred, g.Lifetime)
	}
	if !g.Server.IsLinkLocalUnicast() && !usable(g.Server) || len(g.ServerID) == 0 {
		t.Errorf("server %s, %x", g.Server, g.ServerID)
	}
	if renewed, err := c.Renew(bounded(t), g); err != nil || renewed.Address != g.Address || renewed.Lifetime != g.Lifetime {
		t.Errorf("Renew: %+v, %v", renewed, err)
	}
	lan.WaitLog("DHCPREPLY(lan0) " + addr.String() + " 00:04:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:01 web")
	// Another client on the same interface, as the daemon opens one for every exchange.
	c.Close()
	c = open(t, ns, 1)
	if confirmed, err := c.Confirm(bounded(t), g); err != nil || confirmed.Address != g.Address {
		t.Errorf("Confirm: %+v, %v", confirmed, err)
	}
	if err := c.Release(bounded(t), g); err != nil {
		t.Error(err)
	}
	lan.WaitLog("DHCPRELEASE(lan0)")
	if err := c.Release(bounded(t), g); err != nil { // again: nothing to do, no error
		t.Error(err)
	}
	mustAcquire(t, open(t, container(t, lan), 2), lan, grant.Wish{Address: addr, Strict: true}) // it is free
}

func TestWishesOnALAN(t *testing.T) {
	lan := newLAN(t)
	wish := netip.MustParseAddr("2001:db8:1::142")
	first := open(t, container(t, lan), 1)
	g := mustAcquire(t, first, lan, grant.Wish{Address: wish, Strict: true})
	if g.Address.Addr() != wish {
		t.Errorf("granted %s", g.Address)
	}
	second := open(t, container(t, lan), 2)
	if _, err := second.Acquire(bounded(t), grant.Wish{Address: wish, Strict: true}); !errors.Is(err, grant.ErrOther) {
		t.Errorf("somebody else's address: %v", err)
	}
	if got := strings.Count(lan.Log(), "DHCPREPLY(lan0) 2001:db8:1:"); got != 1 {
		t.Errorf("%d addresses were granted:\n%s", got, lan.Log())
	}
	if g := mustAcquire(t, second, lan, grant.Wish{Address: wish}); g.Address.Addr() == wish {
		t.Errorf("granted somebody else's address %s", g.Address)
	}
	// The same client again gets what it has.
	if again := mustAcquire(t, first, lan, grant.Wish{}); again.Address != g.Address {
		t.Errorf("granted %s, then %s", g.Address, again.Address)
	}
}

func TestAnotherServerTakesOver(t *testing.T) {
	lan := newLAN(t)
	c := open(t, container(t, lan), 1)
	g := mustAcquire(t, c, lan, grant.Wish{})
	lan.StopServer()
	rewriteLeases(t, "duid 00:03:00:01:02:00:00:00:00:07\n")
	lan.StartServer()
	if _, err := c.Renew(within(t, 1500*time.Millisecond), g); !errors.Is(err, grant.ErrNoAck) {
		t.Errorf("Renew at a server that is gone: %v", err)
	}
	rebound, err := c.Rebind(bounded(t), g)
	if err != nil || rebound.Address != g.Address || bytes.Equal(rebound.ServerID, g.ServerID) {
		t.Fatalf("Rebind: %+v, before %+v, %v\n%s", rebound, g, err, lan.Log())
	}
	if renewed, err := c.Renew(bounded(t), rebound); err != nil || renewed.Address != g.Address {
		t.Errorf("Renew at the new server: %+v, %v", renewed, err)
	}
}

func TestServerThatLostItsLeases(t *testing.T) {
	lan := newLAN(t, "--dhcp-duid=47000,01:02:03:04")
	c := open(t, container(t, lan), 1)
	g := mustAcquire(t, c, lan, grant.Wish{})
	lan.StopServer()
	rewriteLeases(t, "")
	lan.StartServer()
	renewed, err := c.Renew(bounded(t), g)
	if err != nil || renewed.Address != g.Address {
		t.Errorf("Renew: %+v, before %+v, %v\n%s", renewed, g, err, lan.Log())
	}
}

func TestServerRefusesAnAddressOfAnotherNetwork(t *testing.T) {
	lan := newLAN(t)
	c := open(t, container(t, lan), 1)
	g := mustAcquire(t, c, lan, grant.Wish{})
	g.Address = netip.MustParsePrefix("2001:db8:9::9/128")
	if _, err := c.Rebind(bounded(t), g); !errors.Is(err, grant.ErrNak) {
		t.Errorf("Rebind: %v\n%s", err, lan.Log())
	}
	if _, err := c.Renew(bounded(t), g); !errors.Is(err, grant.ErrNak) {
		t.Errorf("Renew: %v\n%s", err, lan.Log())
	}
}

func TestDeclinedAddressIsNotGrantedAgain(t *testing.T) {
	lan := newLAN(t)
	c := open(t, container(t, lan), 1)
	g := mustAcquire(t, c, lan, grant.Wish{})
	if err := c.Decline(bounded(t), g); err != nil {
		t.Fatal(err)
	}
	lan.WaitLog("DHCPDECLINE(lan0)")
	if again := mustAcquire(t, c, lan, grant.Wish{}); again.Address == g.Address {
		t.Errorf("%s is granted again", g.Address)
	}
}

func TestNobodyAnswers(t *testing.T) {
	lan := silentLAN(t)
	c := open(t, container(t, lan), 1)
	ready(t, c)
	if _, err := c.Acquire(within(t, 1500*time.Millisecond), grant.Wish{}); !errors.Is(err, grant.ErrNoOffer) {
		t.Errorf("Acquire: %v", err)
	}
	g := held()
	if _, err := c.Confirm(within(t, 300*time.Millisecond), g); !errors.Is(err, grant.ErrNoAck) {
		t.Errorf("Confirm: %v", err)
	}
	if err := c.Release(t.Context(), g); err != nil {
		t.Errorf("Release: %v", err)
	}
}
