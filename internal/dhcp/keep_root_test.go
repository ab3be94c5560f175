package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

// keeper is a harness whose leases are kept, by a clock of the test's.
type keeper struct {
	*harness
	clock *fakeClock
	stop  func()

	mu     sync.Mutex
	places map[string]*testlab.Netns // by id; nil: not to be reached
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{clock: newFakeClock(), places: map[string]*testlab.Netns{}}
	k.harness = newHarness(t, func(o *Options) {
		o.clock, o.prolongTime, o.discoverTime = k.clock, 1500*time.Millisecond, 1500*time.Millisecond
	})
	k.keep()
	t.Cleanup(func() { k.stop() })
	return k
}

func (k *keeper) keep() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	service := k.Service
	go func() { ended <- service.Keep(ctx, k) }()
	k.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			k.t.Error(err)
		}
		ended <- nil
	}
}

// crash is a daemon's end of which no lease learns, and the start of the next one.
func (k *keeper) crash(away time.Duration) {
	k.t.Helper()
	k.stop()
	k.clock.advance(away)
	k.restart()
	k.keep()
}

type testPlace struct {
	*testlab.Netns
	index int
}

func (p testPlace) Index() int   { return p.index }
func (p testPlace) Close() error { return nil }

func (k *keeper) Reopen(_ context.Context, id, ifname string) (Place, error) {
	k.mu.Lock()
	ns, known := k.places[id]
	k.mu.Unlock()
	switch {
	case !known:
		return nil, ErrNoAttachment
	case ns == nil:
		return nil, errors.New("out of reach")
	}
	p := testPlace{Netns: ns}
	err := ns.Do(func() error {
		dev, err := net.InterfaceByName(ifname)
		if err == nil {
			p.index = dev.Index
		}
		return err
	})
	return p, err
}

func (k *keeper) place(id string, ns *testlab.Netns) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.places[id] = ns
}

// attach attaches the test's container with CNI's macvlan plugin.
func (k *keeper) attach(ipam string) *testlab.Netns {
	k.t.Helper()
	ns := testlab.NewNetns(k.t)
	e := k.expect(Attachment{Namespace: ns})
	k.result(k.plugin("macvlan", "ADD", testID, ns.Path(), ipam))
	k.place(testID, ns)
	e.Done()
	k.saw("acquire ok")
	return ns
}

// saw waits for the next exchange that is not a probe.
func (k *keeper) saw(want string) {
	k.t.Helper()
	for {
		select {
		case got := <-k.obs.exchanges:
			if strings.HasPrefix(got, "probe") {
				continue
			}
			if got != want {
				k.t.Fatalf("the exchange was %q, want %q\n%s", got, want, k.log)
			}
			return
		case <-time.After(time.Minute):
			k.t.Fatalf("no exchange came, want %q\n%s", want, k.log)
		}
	}
}

// idle waits until nothing is done for the test's lease, and none is due.
func (k *keeper) idle() {
	k.t.Helper()
	for k.t.Context().Err() == nil {
		k.Service.mu.Lock()
		busy := false
		var ended chan struct{}
		for _, e := range k.Service.entries {
			if e.cancel != nil {
				ended = e.ended
			}
			busy = busy || e.cancel != nil || e.due <= k.clock.now()
		}
		k.Service.mu.Unlock()
		if !busy {
			return
		}
		if ended != nil {
			<-ended
		}
	}
}

// to advances the clock to an age of the lease, and waits for the exchanges that come
// of it.
func (k *keeper) to(age time.Duration, exchanges ...string) {
	k.t.Helper()
	k.idle()
	k.clock.advance(k.held().Acquired + age - k.clock.now())
	for _, e := range exchanges {
		k.saw(e)
	}
	k.idle()
}

// on lists what the interface has: its addresses, and its routes but those of the
// addresses themselves.
func on(t *testing.T, ns *testlab.Netns) string {
	t.Helper()
	var has []string
	err := ns.Do(func() error {
		dev, err := netlink.LinkByName(testIfname)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(dev, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			has = append(has, a.IPNet.String())
		}
		out, err := exec.Command("ip", "-4", "route", "show", "dev", testIfname).Output()
		for line := range strings.Lines(string(out)) {
			if fields := strings.Fields(line); !strings.Contains(line, "proto kernel") {
				has = append(has, strings.Join(fields[:min(3, len(fields))], " "))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(has, ", ")
}

func (k *keeper) wantOn(ns *testlab.Netns, want string) {
	k.t.Helper()
	if got := on(k.t, ns); got != want {
		k.t.Errorf("the interface has %q, want %q\n%s", got, want, k.log)
	}
}

func (k *keeper) wantState(want State) {
	k.t.Helper()
	if got := k.Status(testID, testIfname)[0].State; got != want {
		k.t.Errorf("the state is %s, want %s", got, want)
	}
}

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
	if log := lan.Log()[mark:]; strings.Contains(log, "DHCPDISCOVER") || strings.Count(log, "DHCPREQUEST") != 1 {
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
	if _, toExpiry, ok := k.Summary(); !ok || toExpiry != 0 {
		t.Errorf("time to the worst expiry %v, %v", toExpiry, ok)
	}
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
	l.Undone = &old
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
	k.to(t1)
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

func TestLeaseWithoutAnAttachmentIsDropped(t *testing.T) {
	testlab.NewLAN(t)
	k := newKeeper(t)
	k.attach("")
	k.mu.Lock()
	delete(k.places, testID)
	k.mu.Unlock()
	k.clock.advance(t1)
	for len(k.All()) > 0 && t.Context().Err() == nil {
		k.idle()
	}
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
	other := lan.NewContainerNS(testIfname)
	machine(t, lan, netip.MustParsePrefix("192.0.2.151/24"))
	h.expect(Attachment{ID: "1000.other", Namespace: other, Wish: grant.Wish{Address: netip.MustParseAddr("192.0.2.151")}})
	if got := h.add("1000.other", other, seedIPAM).IPs[0].Address.IP.String(); got != "192.0.2.151" {
		t.Errorf("got %s", got)
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
