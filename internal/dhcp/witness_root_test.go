package dhcp

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

// What a container's owner grants herself: an address of the LAN that is another's.
const forged, forged6 = "192.0.2.7", "2001:db8:1::7"

// witnessed is a container on a LAN whose grants the host has to hear, too.
type witnessed struct {
	*keeper
	lan    *testlab.LAN
	ns     *testlab.Netns
	family Family
	mac    atomic.Pointer[net.HardwareAddr] // nil: nothing is to be heard
}

// both runs a test with DHCP and with DHCPv6. The LAN's server is slow to offer, so that
// another one comes first.
func both(t *testing.T, test func(t *testing.T, w *witnessed)) {
	for name, family := range map[string]Family{"4": IPv4, "6": IPv6} {
		t.Run(name, func(t *testing.T) {
			lan := testlab.NewLAN(t, testlab.WithoutServer(), testlab.WithDnsmasq("--dhcp-reply-delay=1",
				"--dhcp-range=192.0.2.100,192.0.2.200,255.255.255.0,1h", "--dhcp-range=2001:db8:1::100,2001:db8:1::1ff,64,1h"))
			if err := lan.Do(func() error { return ip("addr", "add", "2001:db8:1::1/64", "dev", "lan0", "nodad") }); err != nil {
				t.Fatal(err)
			}
			test(t, newWitnessed(t, lan, family))
		})
	}
}

func newWitnessed(t *testing.T, lan *testlab.LAN, family Family) *witnessed {
	t.Helper()
	w := &witnessed{lan: lan, family: family, ns: lan.NewContainerNS(testIfname)}
	w.keeper = newKeeper(t, func(o *Options) {
		o.Witness = func(string, string) (int, net.HardwareAddr, error) {
			mac := w.mac.Load()
			if mac == nil {
				return 0, nil, nil
			}
			parent, err := net.InterfaceByName(testlab.LANParent)
			if err != nil {
				return 0, nil, err
			}
			return parent.Index, *mac, nil
		}
	})
	w.witness(macOf(t, w.ns))
	return w
}

func (w *witnessed) witness(mac string) {
	got, err := parseMAC(mac)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mac.Store(&got)
}

func (w *witnessed) acquire() error {
	w.t.Helper()
	ipam := ""
	if w.family == IPv6 {
		ipam = `"ipv4":false,"ipv6":true`
	}
	e := w.expect(Attachment{Namespace: w.ns, Timeout: 20 * time.Second, Identity: Identity{DUID: []byte("\x00\x04some-container-id"), IAID: 1}})
	defer e.Done()
	_, err := output(w.plugin("dhcp", "ADD", testID, w.ns.Path(), ipam))
	w.place(testID, w.ns)
	return err
}

// exchange is an exchange as the recorder has it.
func (w *witnessed) exchange(text string) string {
	kind, outcome, _ := strings.Cut(text, " ")
	if w.family == IPv6 {
		kind += "6"
	}
	return kind + " " + outcome
}

// forge has a server on another macvlan of the same parent grant what is not its to grant:
// what it sends to the container does not leave by the parent, and passes it as if it came
// from outside. In the container's own namespace tc(8) would do the same.
func (w *witnessed) forge() testlab.DHCPServer {
	w.t.Helper()
	evil := w.lan.AddServer(testlab.Dnsmasq, "--dhcp-range="+forged+","+forged+",255.255.255.0,infinite",
		"--dhcp-range="+forged6+","+forged6+",64,infinite")
	if err := evil.Do(func() error { return ip("addr", "add", "2001:db8:1::2/64", "dev", "lan0", "nodad") }); err != nil {
		w.t.Fatal(err)
	}
	evil.Start()
	return evil
}

func (w *witnessed) wantForged(is bool) {
	w.t.Helper()
	for _, l := range w.Leases(testID, testIfname) {
		if addr := l.Address.Addr(); !l.Expired && (addr == netip.MustParseAddr(forged) || addr == netip.MustParseAddr(forged6)) != is {
			w.t.Errorf("it has %s", addr)
		}
	}
}

func TestHonestLeaseIsHeardByTheHost(t *testing.T) {
	both(t, func(t *testing.T, w *witnessed) {
		w.lan.StartServer()
		if err := w.acquire(); err != nil {
			t.Fatalf("%v\n%s", err, w.log)
		}
		w.saw(w.exchange("acquire ok"))
		before := w.held()
		if !before.Witnessed {
			t.Error("it is not recorded that the host has heard of the lease")
		}
		w.to(w.held().T1, w.exchange("renew ok"))
		w.crash(0)
		w.Recheck(testID, testIfname) // as every start does: it is known to be good
		w.idle()
		w.to(w.held().T1, w.exchange("renew ok"))
		w.crash(w.held().Lifetime + time.Minute)
		w.saw(w.exchange("reboot ok"))
		w.idle()
		if l := w.held(); !l.Witnessed || l.Address != before.Address || l.Server != before.Server && w.family == IPv4 {
			t.Errorf("the lease is %+v", l)
		}
	})
}

// What is asked of it is usual, but not often asked.
func TestEveryServerTellsTheHost(t *testing.T) {
	for _, kind := range testlab.ServerKinds {
		t.Run(string(kind), func(t *testing.T) {
			w := newWitnessed(t, testlab.NewLAN(t, testlab.WithServer(kind, kind.Conf(testlab.Terms{T1: 100 * time.Second})...)), IPv4)
			if err := w.acquire(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, w.log, w.lan.Log())
			}
			w.saw("acquire ok")
			addr := w.held().Address.String() // which CNI's macvlan plugin would set
			if err := w.ns.Do(func() error { return ip("addr", "add", addr, "dev", testIfname) }); err != nil {
				t.Fatal(err)
			}
			w.to(w.held().T1, "renew ok")
			if !w.held().Witnessed {
				t.Error("the host has not heard of it")
			}
		})
	}
}

func TestForgedGrantIsRefused(t *testing.T) {
	both(t, func(t *testing.T, w *witnessed) {
		if w.family == IPv4 { // with DHCPv6 it would be the first
			w.lan.StartServer()
		}
		w.forge()
		err := w.acquire()
		if err == nil || !strings.Contains(err.Error(), ErrUnheard.Error()) || !strings.Contains(err.Error(), ": "+forged) && !strings.Contains(err.Error(), ": "+forged6) {
			t.Fatalf("the container reads %v\n%s", err, w.log)
		}
		w.wantNoLease()
		if log := w.log.String(); !strings.Contains(log, "event=lease-refused") || !strings.Contains(log, "uid=1000") {
			t.Errorf("the log says nothing of it:\n%s", log)
		}
		// Where the host need not hear it, it works, so this measures something.
		w.mac.Store(nil)
		if err := w.acquire(); err != nil {
			t.Fatalf("%v\n%s", err, w.log)
		}
		w.wantForged(true)
	})
}

// The address is honest, the next one after its end is not.
func TestForgedGrantAfterALeaseIsRefused(t *testing.T) {
	both(t, func(t *testing.T, w *witnessed) {
		w.lan.StartServer()
		if err := w.acquire(); err != nil {
			t.Fatalf("%v\n%s", err, w.log)
		}
		w.saw(w.exchange("acquire ok"))
		w.lan.StopServer()
		w.forge()
		w.idle()
		w.clock.advance(w.held().Lifetime)
		w.saw(w.exchange("discover no-ack"))
		w.wantForged(false)
		w.wantState(Selecting)
	})
}

// A server is told a MAC in the container's namespace, where it can be changed to that of
// the machine whose address it is.
func TestGrantToAnotherMACIsRefused(t *testing.T) {
	both(t, func(t *testing.T, w *witnessed) {
		w.lan.StartServer()
		w.witness("02:00:00:00:00:0a")
		if err := w.acquire(); err == nil || !strings.Contains(err.Error(), "02:00:00:00:00:0a") {
			t.Errorf("the container reads %v", err)
		}
		w.wantNoLease()
	})
}

// Leases that are older than that the host has to hear of them: an honest one is heard of
// at once, a forged one is over within the hour, though it has no end.
func TestOlderLeasesAreHeardOfOrEnd(t *testing.T) {
	both(t, func(t *testing.T, w *witnessed) {
		mac := w.mac.Swap(nil)
		w.lan.StartServer()
		if err := w.acquire(); err != nil {
			t.Fatalf("%v\n%s", err, w.log)
		}
		w.saw(w.exchange("acquire ok"))
		w.mac.Store(mac)
		w.Recheck(testID, testIfname)
		w.saw(w.exchange("renew ok"))
		w.idle()
		if !w.held().Witnessed {
			t.Error("it was not heard of")
		}
	})
	both(t, func(t *testing.T, w *witnessed) {
		mac := w.mac.Swap(nil)
		w.forge()
		if err := w.acquire(); err != nil {
			t.Fatalf("%v\n%s", err, w.log)
		}
		w.saw(w.exchange("acquire ok"))
		w.wantForged(true)
		w.mac.Store(mac)
		w.Recheck(testID, testIfname)
		w.saw(w.exchange("renew no-ack"))
		w.idle()
		w.clock.advance(unheardFor)
		w.saw(w.exchange("discover no-ack"))
		w.wantForged(false)
	})
}

func TestDoubtShortensOnly(t *testing.T) {
	const now = time.Hour
	for name, l := range map[string]Lease{
		"without an end": {Acquired: now - time.Minute},
		"long":           {Acquired: now - time.Minute, Grant: grant.Grant{T1: 5 * time.Hour, T2: 8 * time.Hour, Lifetime: 10 * time.Hour}},
		"short":          {Acquired: now - time.Minute, Grant: grant.Grant{T1: 5 * time.Minute, T2: 8 * time.Minute, Lifetime: 10 * time.Minute}},
		"rebinding":      {Acquired: now - 9*time.Minute, Grant: grant.Grant{T1: 5 * time.Minute, T2: 8 * time.Minute, Lifetime: 10 * time.Minute}},
	} {
		d := l.doubted(now)
		age := now - l.Acquired
		if d.Infinite() || d.T1 > age || d.T1 > d.T2 || d.T2 > d.Lifetime || d.Lifetime <= age || d.Lifetime > age+unheardFor ||
			!l.Infinite() && d.Lifetime > l.Lifetime || d.dueAt(now) != now {
			t.Errorf("%s: %+v", name, d.Grant)
		}
		l.Witnessed = true
		if got := l.doubted(now); got.Lifetime != l.Lifetime || got.T1 != l.T1 {
			t.Errorf("%s: one that was heard of becomes %+v", name, got.Grant)
		}
	}
}
