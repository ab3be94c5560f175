package dhcp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestRestartInEachState(t *testing.T) {
	for _, tt := range []struct {
		name string
		away time.Duration
		// what the next daemon says first
		first string
	}{
		{"bound", t1 / 2, ""},
		{"renewing", t1 + time.Minute, "renew ok"},
		{"rebinding", t2 + time.Minute, "rebind ok"},
		{"at the end", lifetime, "reboot ok"},
		{"past the end", lifetime + time.Minute, "reboot ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testlab.NewLAN(t)
			k := newKeeper(t)
			ns := k.attach("")
			before := k.held()
			k.crash(tt.away)
			if tt.first != "" {
				k.saw(tt.first)
			}
			k.idle()
			k.wantState(Bound)
			k.wantOn(ns, before.Address.String()+", default via 192.0.2.1")
			if l := k.held(); tt.first == "" && l.Acquired != before.Acquired || l.Address != before.Address {
				t.Errorf("%+v", l)
			}
			k.to(t1, "renew ok")
		})
	}
}

// The lease ended while the daemon was away, and the server is away, too: the address
// goes, since it may be another machine's by now.
func TestRestartAfterTheEndWithoutAServer(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	lan.StopServer()
	k.crash(lifetime + time.Minute)
	k.saw("reboot no-ack")
	k.saw("discover no-offer")
	k.wantOn(ns, "")
	k.wantState(Selecting)
	k.crash(time.Minute)
	k.saw("discover no-offer")
	lan.StartServer()
	k.idle()
	k.clock.advance(2 * maxBackoff)
	k.saw("discover ok")
	k.idle()
	k.wantOn(ns, k.held().Address.String()+", default via 192.0.2.1")
}

// A daemon that ends between the record of a change and the change itself.
func TestUnfinishedChangeIsFinishedByTheNextDaemon(t *testing.T) {
	testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	l := k.held()
	old := l.Grant
	k.stop()
	l.Address = netip.MustParsePrefix("192.0.2.77/24")
	l.Undone = []grant.Grant{old}
	if err := k.remember(l); err != nil {
		t.Fatal(err)
	}
	k.crash(0)
	k.idle()
	k.wantOn(ns, "192.0.2.77/24, default via 192.0.2.1")
	if k.held().Undone != nil {
		t.Error("it is not recorded as finished")
	}
}

func TestLeaseOutOfReachIsTriedAgain(t *testing.T) {
	testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	k.place(testID, nil)
	k.to(t1, "renew unreachable")
	k.wantState(Renewing)
	k.place(testID, ns)
	k.to(t2, "rebind ok")
}

// A try that fails when T2, or the end, has come meanwhile: what is due then is not put
// off as a retry would be.
func TestWhatIsDueAfterALateFailureIsNotPutOff(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	lan.StopServer()
	acquired := k.held().Acquired
	k.obs.during = func(kind, _ string) {
		switch kind {
		case "renew":
			k.clock.advance(acquired + t2 - k.clock.now())
		case "rebind":
			k.clock.advance(acquired + lifetime - k.clock.now())
		}
	}
	k.to(t1, "renew no-ack", "rebind no-ack", "discover no-offer")
	k.wantState(Selecting)
	k.wantOn(ns, "")
}

// As when somebody has removed its record. Whoever looks first, the one who keeps leases or
// the one who clears away what nobody owns, tells the server.
func TestLeaseWithoutAnAttachmentIsGivenBack(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	k.attach("")
	addr := k.held().Address.Addr()
	k.mu.Lock()
	delete(k.places, testID)
	k.mu.Unlock()
	k.clock.advance(t1)
	for len(k.All()) > 0 && t.Context().Err() == nil {
		k.idle()
	}
	k.saw("release ok")
	released(t, lan, addr)

	k.attach("")
	addr = k.held().Address.Addr()
	if err := k.Forget(testID, testIfname); err != nil {
		t.Error(err)
	}
	k.wantNoLease()
	released(t, lan, addr)
}

func TestNothingIsHeldBetweenExchanges(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	gone := deathOf(t, ns)
	k.to(t1, "renew ok")
	lan.StopServer()
	k.to(t1, "renew no-ack")
	ns.Close()
	gone()
}

// A detach ends the renewal that is under way, and does not wait for its time.
func TestDetachEndsARenewal(t *testing.T) {
	lan := testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	lan.StopServer()
	k.idle()
	k.clock.advance(t1)
	for k.t.Context().Err() == nil { // until the exchange is under way
		k.Service.mu.Lock()
		running := k.Service.running
		k.Service.mu.Unlock()
		if running > 0 {
			break
		}
	}
	lan.StartServer()
	e := k.expect(Attachment{Namespace: ns})
	if _, err := output(k.plugin("macvlan", "DEL", testID, ns.Path(), "")); err != nil {
		t.Fatal(err)
	}
	e.Done()
	k.wantNoLease()
	lan.WaitLog("DHCPRELEASE(lan0)")
}

// The lease ends in the moment in which the next daemon begins: it has had no try.
func TestEndInTheMomentOfAStart(t *testing.T) {
	testlab.NewLAN(t)
	k := newKeeper(t)
	ns := k.attach("")
	before := k.held()
	k.stop()
	k.clock.advance(lifetime - time.Millisecond)
	k.restart()
	k.clock.advance(time.Millisecond)
	k.keep()
	k.saw("reboot ok")
	k.idle()
	k.wantState(Bound)
	k.wantOn(ns, before.Address.String()+", default via 192.0.2.1")
}
