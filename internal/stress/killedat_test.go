package stress

import (
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// again attaches a container as its user does who got no answer: in the same namespace,
// as the plugin does, or in a new one, as podman does for the next start.
func (l *lab) again(c *testlab.Container, inNew bool) answer {
	l.t.Helper()
	if inNew {
		c.Remove()
		c.Sandbox.PersistNetns(c.Netns)
		return l.attach(c)
	}
	status, _ := l.Attach(c.Sandbox, resource, c.AttachBody())
	if status == http.StatusConflict || status == http.StatusOK { // the answer was all that was lost
		l.detach(c)
	}
	return l.attach(c)
}

// wantNothingIn fails the test if there is an interface of anybody's in the container.
func (l *lab) wantNothingIn(c *testlab.Container) {
	l.t.Helper()
	if got := c.Sandbox.Links(c.Netns); !slices.Equal(got, []string{"lo"}) {
		l.t.Errorf("in the container is left %q", got)
	}
}

func TestKilledAtEachMomentOfAnAttach(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	l := newLab(t, []testlab.User{dave})
	l.Start()
	c := dave.Containers(t, 1)[0]
	for n := 1; ; n++ {
		m := l.watchMoments("attachments", "leases")
		moment, killed, r := l.killAt(n, m, func() (testlab.Response, error) {
			return l.TryAttach(c.Sandbox, resource, c.AttachBody())
		})
		m.close()
		if !killed {
			if r.err != nil {
				t.Fatal(r.err)
			}
			read(t, r.Response)
			t.Logf("an attach has %d moments", n-1)
			if n < 10 {
				t.Error("these are not all of them")
			}
			return
		}
		if r.err == nil && r.Status != http.StatusOK {
			t.Errorf("killed at %s: %d %s", moment, r.Status, r.Body)
		}
		l.Start()
		a := l.again(c, n%2 == 0)
		l.lan.Ping(a.ip())
		if !l.lan.Server().HasLease(a.ip()) || l.leases() != 1 || len(l.attachments()) != 1 {
			t.Errorf("killed at %s: %d leases of %v; the server has\n%s", moment, l.leases(), l.attachments(), l.lan.Leases())
		}
		l.detach(c)
		l.wantNothingLeft()
		l.wantNothingIn(c)
		l.lan.Server().WaitFree(a.ip())
		if t.Failed() {
			t.Fatalf("that was after a kill at %s", moment)
		}
	}
}

func TestKilledAtEachMomentOfADetach(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	l := newLab(t, []testlab.User{dave})
	l.Start()
	c := dave.Containers(t, 1)[0]
	for n := 1; ; n++ {
		addr := l.attach(c).ip()
		m := l.watchMoments("attachments", "leases")
		moment, killed, r := l.killAt(n, m, func() (testlab.Response, error) {
			return l.TryDetach(c.Sandbox, resource, c.DetachBody())
		})
		m.close()
		if !killed {
			if r.err != nil || r.Status != http.StatusNoContent {
				t.Errorf("detach: %d %s (%v)", r.Status, r.Body, r.err)
			}
			t.Logf("a detach has %d moments", n-1)
			if n < 4 {
				t.Error("these are not all of them")
			}
			return
		}
		l.Start()
		if n%2 == 0 {
			c.Remove() // podman does not tear down again what has failed
			c.Sandbox.PersistNetns(c.Netns)
			l.until("what the detach has left is gone", func() bool { return len(l.attachments()) == 0 })
		} else {
			l.detach(c)
		}
		l.wantNothingLeft()
		l.wantNothingIn(c)
		l.lan.Server().WaitFree(addr)
		if t.Failed() {
			t.Fatalf("that was after a kill at %s", moment)
		}
	}
}

func TestKilledAtEachMomentOfARenewal(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	l := begin(t, testlab.ISCDhcpd, testlab.Terms{Lease: 60 * time.Second, T1: 3 * time.Second, T2: 50 * time.Second})
	w := watchAddresses(t, l.c)
	for n := 1; n <= 6; n++ { // REQUEST, ACK, a new file, its content, its name; and the same file of a probe
		m := l.watchMoments("leases")
		moment := l.killAtMoment(n, m)
		m.close()
		acks := l.acks(l.addr)
		l.Start()
		l.lan.Server().WaitMessage("DHCPACK", l.addr, acks+1)
		l.untilState(l.c, "bound")
		t.Logf("killed at %s", moment)
	}
	l.wantAlive(w, 2)
}

// The server refuses the address, and grants another. Whatever was done of that when the
// daemon was killed, in the end the container has the new address and no other.
func TestKilledAtEachMomentOfAChangeOfAddress(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	const parts = 3 // side by side, since most of the time is waiting for T1
	for part := range parts {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			ranges := [][]string{
				testlab.Dnsmasq.Conf(testlab.Terms{T1: 3 * time.Second, First: "192.0.2.32", Last: "192.0.2.47"}),
				testlab.Dnsmasq.Conf(testlab.Terms{T1: 3 * time.Second, First: "192.0.2.64", Last: "192.0.2.79"}),
			}
			prefixes := []netip.Prefix{netip.MustParsePrefix("192.0.2.32/28"), netip.MustParsePrefix("192.0.2.64/28")}
			l := begin(t, testlab.Dnsmasq, testlab.Terms{T1: 3 * time.Second, First: "192.0.2.32", Last: "192.0.2.47"})
			w := watchAddresses(t, l.c)
			for n, side := 1+part, 1; n <= 22; n, side = n+parts, 1-side {
				l.lan.StopServer()
				l.lan.Server().Configure(ranges[side]...)
				m := l.watchMoments("leases")
				l.lan.StartServer()
				moment := l.killAtMoment(n, m)
				m.close()
				l.Start()
				var addr netip.Addr

				l.until("the container has the new address alone, after a kill at "+moment, func() bool {
					now := l.attachments()[l.c.ID]
					addr = now.ip()
					return prefixes[side].Contains(addr) && now.Lease.State == "bound" && slices.Equal(w.addresses(), []netip.Addr{addr})
				})
				l.lan.Ping(addr)
				t.Logf("killed at %s", moment)
			}
			addr := l.attachments()[l.c.ID].ip()
			l.detach(l.c)
			l.wantNothingLeft()
			l.lan.Server().WaitFree(addr)
		})
	}
}
