package dhcp

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

// patience is longer than dnsmasq's shortest lease, two minutes.
const patience = 150 * time.Second

// site is a LAN with a server of some kind, a daemon and its one container. Time is real:
// servers do not know of any other.
type site struct {
	*keeper
	kind   testlab.ServerKind
	terms  testlab.Terms
	lan    *testlab.LAN
	server testlab.DHCPServer
	tap    *tap
	ns     *testlab.Netns
	addr   netip.Addr // that the container got when it was attached
}

var sites atomic.Int64

// newSite attaches the container. Nobody keeps its lease before keep is called, so that
// a test can set the scene however slow the machine is.
func newSite(t *testing.T, kind testlab.ServerKind, terms testlab.Terms) *site {
	t.Helper()
	parent := fmt.Sprintf("%s%d", kind, sites.Add(1))
	s := &site{kind: kind, terms: terms}
	s.lan = testlab.NewLAN(t, testlab.WithParent(parent), testlab.WithServer(kind, kind.Conf(terms)...))
	s.server, s.tap = s.lan.Server(), newTap(t, s.lan)
	s.keeper = &keeper{harness: newHarness(t), places: map[string]*testlab.Netns{}, stop: func() {}}
	s.parent = parent
	s.ns = s.attach("")
	t.Cleanup(func() { s.stop() }) // before the namespace is let go of
	s.addr = s.held().Address.Addr()
	s.server.WaitMessage("DHCPACK", s.addr, 1)
	return s
}

// detach ends the attachment by CNI's macvlan plugin. Without a namespace the container is
// dead.
func (s *site) detach(ns *testlab.Netns) {
	s.t.Helper()
	a, path := Attachment{}, ""
	if ns != nil {
		a.Namespace, path = ns, ns.Path()
	}
	e := s.expect(a)
	if _, err := output(s.plugin("macvlan", "DEL", testID, path, "")); err != nil {
		s.t.Fatal(err)
	}
	e.Done()
	s.wantNoLease()
}

// restartServer is a server's restart with another configuration, if there is one, or
// without its leases.
func (s *site) restartServer(forget bool, conf ...string) {
	s.t.Helper()
	s.server.Stop()
	if forget {
		s.server.Forget()
	}
	if len(conf) > 0 {
		s.server.Configure(conf...)
	}
	s.server.Start()
}

// stolen gives the container's address to another container, by a server that has
// forgotten whose it is.
func (s *site) stolen() {
	s.t.Helper()
	longer := s.terms
	longer.Lease = time.Hour // it is not kept
	s.restartServer(true, s.kind.Conf(longer)...)
	h := newHarness(s.t)
	h.parent = s.parent
	ns := testlab.NewNetns(s.t)
	h.expect(Attachment{ID: "1000.other", Namespace: ns, Wish: grant.Wish{Address: s.addr, Strict: true}})
	h.result(h.plugin("macvlan", "ADD", "1000.other", ns.Path(), ""))
	s.server.WaitMessage("DHCPACK", s.addr, 2)
}

// away is what happens while the daemon is not there. The next one is not keeping yet.
func (s *site) away(happens func()) {
	s.t.Helper()
	s.stop()
	if err := s.Service.Close(); err != nil {
		s.t.Fatal(err)
	}
	happens()
	s.harness.start()
}

// sees waits for an exchange. Those before it may come any number of times, as the
// machine may be slow, and others may not.
func (s *site) sees(want string, before ...string) {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case got := <-s.obs.exchanges:
			if got == want {
				return
			}
			if !slices.Contains(before, got) {
				s.t.Fatalf("the exchange was %q, want %q\n%s", got, want, s.log)
			}
		case <-timeout:
			s.t.Fatalf("no exchange came, want %q\n%s", want, s.log)
		}
	}
}

// wantState is the keeper's, for real time: an exchange that is under way has its time.
func (s *site) wantState(want State) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); s.Status(testID, testIfname)[0].State != want; <-tick.C {
		if time.Now().After(end) {
			break
		}
	}
	s.keeper.wantState(want)
}

// settled waits until what the exchange that was seen has come to is on the interface.
func (s *site) settled() {
	s.t.Helper()
	s.Service.mu.Lock()
	var ended chan struct{}
	for _, e := range s.Service.entries {
		if e.cancel != nil {
			ended = e.ended
		}
	}
	s.Service.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// reached asserts that the container has an address and no other, with the route of the
// server that granted it, and that the LAN reaches it there.
func (s *site) reached(addr, server netip.Addr) {
	s.t.Helper()
	s.wantOn(s.ns, fmt.Sprintf("%s/24, default via %s", addr, server))
	up(s.t, s.ns)
	s.lan.Ping(addr)
}

// works asserts the same after an exchange, and that server and daemon say so.
func (s *site) works(addr netip.Addr, server testlab.DHCPServer) {
	s.t.Helper()
	s.settled()
	s.reached(addr, server.Addr())
	server.WaitMessage("DHCPACK", addr, 1)
	// Dhcpd keeps no leases of reserved addresses.
	if !server.HasLease(addr) && (s.kind != testlab.ISCDhcpd || addr != reserved) {
		s.t.Errorf("the server has no lease of %s:\n%s", addr, server.Leases())
	}
	s.wantStatus(addr, server.Addr())
}

// wantStatus asserts what is told of a lease whose time has come to nothing yet.
func (s *site) wantStatus(addr, server netip.Addr) {
	s.t.Helper()
	st := s.Status(testID, testIfname)[0]
	if st.Address.Addr() != addr || st.Server != server || st.Expired || st.Undone != nil {
		s.t.Errorf("the status is %+v, want %s from %s", st, addr, server)
	}
	if want := clientID(); string(st.ClientID()) != want {
		s.t.Errorf("the client id is %q, want %q", st.ClientID(), want)
	}
	if st.T1 != s.terms.T1 || st.T2 != s.terms.T2 {
		s.t.Errorf("T1 is %s and T2 %s, want %s and %s", st.T1, st.T2, s.terms.T1, s.terms.T2)
	}
	for at, after := range map[time.Time]time.Duration{st.T1At: st.T1, st.T2At: st.T2, st.Expiry: st.Lifetime} {
		if off := at.Sub(st.AcquiredWall) - after; off.Abs() > time.Second {
			s.t.Errorf("%s should be %s after %s", at, after, st.AcquiredWall)
		}
	}
}

func clientID() string { return "\x00" + testID + "/lan/" + testIfname }

// inLeases is how the lease file of a kind of server names the container.
func (s *site) inLeases() string {
	switch s.kind {
	case testlab.Dnsmasq:
		var bytes []string
		for _, b := range []byte(clientID()) {
			bytes = append(bytes, hex.EncodeToString([]byte{b}))
		}
		return strings.Join(bytes, ":")
	case testlab.ISCDhcpd:
		return `uid "\000` + clientID()[1:] + `"`
	}
	return macOf(s.t, s.ns)
}

// reserved is an address out of the range that servers lease.
var reserved = netip.MustParseAddr("192.0.2.42")

// reserve is the configuration, on top of the site's, that keeps an address for the
// container, by its MAC.
func (s *site) reserve(addr netip.Addr) []string {
	conf, mac := s.kind.Conf(s.terms), macOf(s.t, s.ns)
	switch s.kind {
	case testlab.Dnsmasq:
		return append(conf, "--dhcp-host="+mac+","+addr.String())
	case testlab.ISCDhcpd:
		return append(conf, fmt.Sprintf("host web { hardware ethernet %s; fixed-address %s; }", mac, addr))
	}
	return append(conf, "static_lease "+mac+" "+addr.String())
}

// said counts a kind of message in what a server has logged.
func said(server testlab.DHCPServer, message string) int {
	return strings.Count(server.Log(), message)
}
