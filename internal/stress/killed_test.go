package stress

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

var dave = testlab.User{UID: 60400, GID: 60400}

// life is a lab with a container that is attached.
type life struct {
	*lab
	c    *testlab.Container
	addr netip.Addr
}

func begin(t *testing.T, kind testlab.ServerKind, terms testlab.Terms) *life {
	t.Helper()
	l := &life{lab: newLab(t, []testlab.User{dave}, testlab.WithServer(kind, kind.Conf(terms)...))}
	l.Start()
	l.c = dave.Containers(t, 1)[0]
	l.addr = l.attach(l.c).ip()
	return l
}

// wantAlive fails the test unless the lease is renewed as often as is asked for from now
// on, the container has its address, no others than those named were ever taken away, and
// a detach leaves nothing.
func (l *life) wantAlive(w *addressWatch, renewals int, gone ...string) {
	l.t.Helper()
	l.lan.Server().WaitMessage("DHCPACK", l.addr, l.acks(l.addr)+renewals)
	l.untilState(l.c, "bound")
	if got := w.addresses(); !slices.Equal(got, []netip.Addr{l.addr}) {
		l.t.Errorf("the container has %v, want %s", got, l.addr)
	}
	if got := w.removed(); !slices.Equal(got, gone) {
		l.t.Errorf("taken away from the container was %q, want %q", got, gone)
	}
	l.lan.Ping(l.addr)
	if n := l.leases(); n != 1 {
		l.t.Errorf("%d leases are held, want one", n)
	}
	l.detach(l.c)
	l.wantNothingLeft()
	l.lan.Server().WaitFree(l.addr)
}

func TestKilledInEachState(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	seconds := func(lease, t1, t2 time.Duration) testlab.Terms {
		return testlab.Terms{Lease: lease * time.Second, T1: t1 * time.Second, T2: t2 * time.Second}
	}
	for state, terms := range map[string]testlab.Terms{
		"bound": seconds(60, 8, 50), "renewing": seconds(40, 3, 36), "rebinding": seconds(40, 2, 4),
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			l := begin(t, testlab.ISCDhcpd, terms)
			w := watchAddresses(t, l.c)
			if state != "bound" {
				l.lan.StopServer()
			}
			if state == "rebinding" {
				l.until("the renewal is given up", func() bool {
					return l.Metric(`net_porter_dhcp_exchange_duration_seconds_count{ip_version="4",kind="renew",outcome="no-ack"}`) > 0
				})
			}
			l.untilState(l.c, state)
			l.Kill()
			l.Start()
			if got := l.state(l.c); got != state {
				t.Errorf("the next daemon has the lease in state %q", got)
			}
			if state != "bound" {
				l.lan.StartServer()
			}
			l.wantAlive(w, 3)
		})
	}
	t.Run("selecting", func(t *testing.T) {
		t.Parallel()
		l := begin(t, testlab.ISCDhcpd, seconds(24, 8, 16))
		w := watchAddresses(t, l.c)
		l.lan.StopServer()
		l.untilState(l.c, "selecting")
		l.Kill()
		l.Start()
		l.until("the address of the lease that is over is taken away", func() bool { return len(w.addresses()) == 0 })
		if got := l.state(l.c); got != "selecting" {
			t.Errorf("the next daemon has the lease in state %q", got)
		}
		l.lan.StartServer()
		l.wantAlive(w, 2, l.addr.String()+"/24")
	})
	// Nobody takes the address away while there is no daemon, and the next one asks first.
	t.Run("ended meanwhile", func(t *testing.T) {
		t.Parallel()
		l := begin(t, testlab.ISCDhcpd, seconds(24, 8, 16))
		w := watchAddresses(t, l.c)
		l.Kill()
		l.lan.Server().WaitFree(l.addr)
		l.Start()
		l.wantAlive(w, 2)
	})
	t.Run("container gone meanwhile", func(t *testing.T) {
		t.Parallel()
		l := begin(t, testlab.ISCDhcpd, testlab.Terms{})
		l.Kill()
		l.c.Remove()
		l.Start()
		l.lan.Server().WaitMessage("DHCPRELEASE", l.addr, 1)
		l.until("nothing is left", func() bool { return len(l.attachments()) == 0 })
		l.wantNothingLeft()
		l.lan.Server().WaitFree(l.addr)
	})
}
