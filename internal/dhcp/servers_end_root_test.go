package dhcp

import (
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// The administrator reserves another address for the container.
func addressChange(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, soonDue(kind))
	touched := s.addresses()
	s.restartServer(false, s.reserve(reserved)...)
	s.keep()
	if kind == testlab.Udhcpd {
		s.sees("discover ok", "renew no-ack", "rebind no-ack")
	} else {
		s.sees("renew nak", "renew no-ack")
		s.server.WaitMessage("DHCPNAK", s.addr, 1)
		s.sees("discover ok", "discover no-offer")
	}
	s.gone(touched)
	s.works(reserved, s.server)
	s.wantState(Bound)
	if s.obs.addressChanges() != 1 {
		t.Errorf("%d changes of address were counted", s.obs.addressChanges())
	}
}

// The address is another container's by now: it is let go of at once, without the end of
// the lease being waited for, and another one is had.
func refusedRenewal(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, soonDue(kind))
	s.stolen()
	touched := s.addresses()
	s.keep()
	s.tap.renewal(s.server.Addr())
	s.sees("renew nak", "renew no-ack")
	s.gone(touched)
	s.refused()
}

// The lease ended while no daemon was there, and the container has gone on using the
// address: the server is asked before anything is done, by INIT-REBOOT.
func refusedReboot(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, testlab.Terms{Lease: 8 * time.Second, T1: 3 * time.Second, T2: 6 * time.Second})
	touched := s.addresses()
	s.away(func() {
		s.stolen()
		l := s.held()
		<-time.After(l.Acquired + l.Lifetime - s.Service.clock.now())
	})
	s.untouched(touched)
	s.keep()
	if to := s.tap.request(reboots); to != everybody {
		t.Errorf("the request went to %s", to)
	}
	s.sees("reboot nak")
	s.gone(touched)
	s.refused()
}

// refused is what comes of a NAK, to a container whose address is another's.
func (s *site) refused() {
	s.t.Helper()
	s.server.WaitMessage("DHCPNAK", s.addr, 1)
	s.sees("discover ok", "discover no-offer")
	s.settled()
	got := s.held().Address.Addr()
	if got == s.addr {
		s.t.Errorf("the container has %s again, which is another's", got)
	}
	s.works(got, s.server)
	s.lan.Ping(s.addr) // the other
}

// No server answers until the lease is over: the address is used until then and not
// longer, and there again when a server is.
func expiryAndRecovery(t *testing.T, kind testlab.ServerKind) {
	// Without a bound the last try, of five seconds, would be over too late.
	s := newSite(t, kind, testlab.Terms{Lease: 60 * time.Second, T1: 3 * time.Second, T2: 40 * time.Second})
	s.server.Stop()
	touched, expiry := s.addresses(), s.Status(testID, testIfname)[0].Expiry
	s.keep()
	s.tap.renewal(s.server.Addr())
	s.wantState(Renewing)
	s.reached(s.addr, s.server.Addr())
	s.tap.rebinding()
	s.wantState(Rebinding)
	s.reached(s.addr, s.server.Addr())
	// The lease ends by a clock that nobody sets, and two clocks cannot be read at one moment.
	const clocks = time.Second
	if late := s.gone(touched).Sub(expiry); late < -clocks || late > 30*time.Second {
		t.Errorf("the address went %s after the lease's end\n%s", late, s.log)
	}
	s.wantState(Selecting)
	s.wantOn(s.ns, "")
	up(t, s.ns)
	if s.server.HasLease(s.addr) {
		t.Errorf("to the server the lease is not over:\n%s", s.server.Leases())
	}
	s.Summary(func(_ string, byState map[string]int, toExpiry time.Duration, ends bool) {
		if !ends || toExpiry != 0 || byState["selecting"] != 1 || byState["bound"] != 0 {
			t.Errorf("by state %v; time to the worst expiry %v, %v", byState, toExpiry, ends)
		}
	})
	s.server.Start()
	s.sees("discover ok", "renew no-ack", "rebind no-ack", "discover no-offer")
	s.works(s.addr, s.server)
	s.wantState(Bound)
	if s.obs.addressChanges() != 0 {
		t.Error("a change of address was counted, though it is the same")
	}
}

func releaseTo(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, testlab.Terms{Lease: 10 * time.Minute})
	s.keep()
	s.detach(s.ns)
	s.server.WaitMessage("DHCPRELEASE", s.addr, 1)
	s.server.WaitFree(s.addr)
}

// Nobody has told that the container is gone, and its interface went with it: the
// release comes from the parent interface.
func releaseOfADead(t *testing.T, kind testlab.ServerKind) {
	s := newSite(t, kind, testlab.Terms{Lease: 10 * time.Minute})
	s.ns.Close()
	s.detach(nil)
	s.server.WaitMessage("DHCPRELEASE", s.addr, 1)
	s.server.WaitFree(s.addr)
}
