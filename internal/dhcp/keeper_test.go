package dhcp

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

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

func newKeeper(t *testing.T, change ...func(*Options)) *keeper {
	t.Helper()
	k := &keeper{clock: newFakeClock(), places: map[string]*testlab.Netns{}}
	k.harness = newHarness(t, append(change, func(o *Options) {
		o.clock, o.prolongTime, o.discoverTime = k.clock, 4*time.Second, 4*time.Second
	})...)
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
