package dhcp

import (
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// What happens to leases, with each of the servers that users have, as the server, the
// LAN and the container see it. It takes as long as dnsmasq's shortest lease, two minutes;
// T1 and T2 are seconds with all servers, but no less than three, which dnsmasq ignores.
func TestServers(t *testing.T) {
	testlab.RequireRoot(t)
	for _, kind := range testlab.ServerKinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			for _, tt := range []struct {
				name string
				test func(*testing.T, testlab.ServerKind)
			}{
				{"acquire", acquireFrom},
				{"renew", renewFrom},
				{"rebind after the server moved", rebindAfterAMove},
				{"server restart", serverRestart},
				{"server restart without its leases", serverLosesLeases},
				{"address change", addressChange},
				{"NAK to a renewal", refusedRenewal},
				{"NAK to a reboot", refusedReboot},
				{"expiry and recovery", expiryAndRecovery},
				{"release", releaseTo},
				{"release of a dead container", releaseOfADead},
			} {
				if kind == testlab.Udhcpd && tt.name == "NAK to a renewal" {
					continue // it does not answer renewals that it does not grant
				}
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					tt.test(t, kind)
				})
			}
		})
	}
}

func acquireFrom(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, testlab.Terms{Lease: 10 * time.Minute, T1: 100 * time.Second, T2: 200 * time.Second})
	s.works(s.addr, s.server)
	s.wantState(Bound)
	if got := s.held().Lifetime; got != s.terms.Lease {
		t.Errorf("the lease is for %s, want %s", got, s.terms.Lease)
	}
	s.server.WaitMessage("DHCPOFFER", s.addr, 1)
	s.server.WaitMessage("DHCPREQUEST", s.addr, 1)
	if leases := s.server.Leases(); !strings.Contains(leases, s.inLeases()) {
		t.Errorf("the server's leases do not have %s:\n%s", s.inLeases(), leases)
	}
	if nakked := said(s.server, "DHCPNAK"); nakked > 0 {
		t.Errorf("the server refused something:\n%s", s.server.Log())
	}
}

// By unicast, without a new acquisition, and without the container's notice.
func renewFrom(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, testlab.Terms{Lease: 60 * time.Second, T1: 4 * time.Second, T2: 50 * time.Second})
	touched, before, asked := s.addresses(), s.Status(testID, testIfname)[0], said(s.server, "DHCPDISCOVER")
	s.keep()
	for n := range 2 {
		s.tap.renewal(s.server.Addr())
		s.sees("renew ok", "renew no-ack")
		s.server.WaitMessage("DHCPACK", s.addr, 2+n)
		s.works(s.addr, s.server)
		s.wantState(Bound)
		now := s.Status(testID, testIfname)[0]
		if longer := now.Expiry.Sub(before.Expiry); longer < s.terms.T1 {
			t.Errorf("renewal %d has made the lease %s longer", n, longer)
		}
		before = now
	}
	s.server.WaitMessage("DHCPREQUEST", s.addr, 3)
	if again := said(s.server, "DHCPDISCOVER"); again != asked {
		t.Errorf("there was a new acquisition:\n%s", s.server.Log())
	}
	s.untouched(touched)
}

// Another server has taken over, at another address: nobody answers renewals, the other
// answers to all, and is the one to renew with and release to from then on.
func rebindAfterAMove(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, testlab.Terms{Lease: 2 * time.Minute, T1: 3 * time.Second, T2: 40 * time.Second})
	other := s.lan.AddServer(kind, s.kind.Conf(s.terms)...)
	if kind == testlab.Udhcpd { // it grants only what it knows
		other.Configure(s.reserve(s.addr)...)
	}
	s.server.Stop()
	touched := s.addresses()
	s.keep()
	s.tap.renewal(s.server.Addr())
	s.wantState(Renewing)
	s.sees("renew no-ack")
	s.tap.rebinding()
	s.wantState(Rebinding)
	s.untouched(touched)
	other.Start()
	s.sees("rebind ok", "rebind no-ack", "renew no-ack")
	other.WaitMessage("DHCPACK", s.addr, 1)
	s.works(s.addr, other) // its routes in place of the former server's
	s.sees("renew ok", "renew no-ack")
	s.untouched(touched)
	if asked := said(other, "DHCPDISCOVER"); asked > 0 {
		t.Errorf("there was a new acquisition:\n%s", other.Log())
	}
	s.detach(s.ns)
	other.WaitMessage("DHCPRELEASE", s.addr, 1)
	if kind != testlab.Udhcpd { // whose reservations cannot be released
		other.WaitFree(s.addr)
	}
}

// The server is away at T1 and comes back: the renewal that is under way goes through.
func serverRestart(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, testlab.Terms{Lease: 10 * time.Minute, T1: 3 * time.Second, T2: time.Minute})
	asked := said(s.server, "DHCPDISCOVER")
	s.server.Stop()
	touched := s.addresses()
	s.keep()
	s.tap.renewal(s.server.Addr())
	s.wantState(Renewing)
	s.reached(s.addr, s.server.Addr())
	s.server.Start()
	s.sees("renew ok", "renew no-ack")
	s.server.WaitMessage("DHCPACK", s.addr, 2)
	s.works(s.addr, s.server)
	s.untouched(touched)
	if said(s.server, "DHCPNAK") > 0 || said(s.server, "DHCPDISCOVER") != asked {
		t.Errorf("the server did not just renew:\n%s", s.server.Log())
	}
}

// A server that has lost its lease file, as in the memory of a router. Dnsmasq and dhcpd
// grant again what is free. Udhcpd is silent to who prolongs what it does not know: the
// lease has to end first, and the client gets the same address then.
func serverLosesLeases(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, soonDue(kind))
	asked, touched := said(s.server, "DHCPDISCOVER"), s.addresses()
	s.restartServer(true)
	s.keep()
	if kind == testlab.Udhcpd {
		s.gone(touched)
		s.sees("discover ok", "renew no-ack", "rebind no-ack")
	} else {
		s.sees("renew ok")
		s.untouched(touched)
		if said(s.server, "DHCPDISCOVER") != asked {
			t.Errorf("there was a new acquisition:\n%s", s.server.Log())
		}
	}
	s.works(s.addr, s.server)
	if s.obs.addressChanges() != 0 {
		t.Error("a change of address was counted, though it is the same")
	}
}

// soonDue has T1 soon, and the end too where a server does not say that it will not
// prolong.
func soonDue(kind testlab.ServerKind) testlab.Terms {
	if kind == testlab.Udhcpd {
		return testlab.Terms{Lease: 10 * time.Second, T1: 3 * time.Second, T2: 6 * time.Second}
	}
	return testlab.Terms{Lease: 10 * time.Minute, T1: 3 * time.Second, T2: time.Minute}
}
