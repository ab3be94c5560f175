package stress

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

var floodFor = time.Duration(length(10, 30)) * time.Second

const floodRate = 10_000 // frames a second

// flood sends frames from the LAN's side, in an order of its own, for a time. It returns
// how many were sent, a little faster than is asked for.
func (l *lab) flood(frames []frame, rnd *rand.Rand, duration time.Duration) (sent int, err error) {
	err = l.lan.Do(func() error {
		link, err := net.InterfaceByName("lan0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Ifindex: link.Index}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		start := time.Now()
		for elapsed := time.Duration(0); elapsed < duration; elapsed = time.Since(start) {
			for due := int(elapsed.Seconds() * floodRate * 1.05); sent < due; sent++ {
				f := frames[rnd.IntN(len(frames))]
				if f.xid > 0 {
					binary.NativeEndian.PutUint32(f.data[f.xid:], rnd.Uint32())
				}
				// A full queue (ENOBUFS, packet(7)) is waited for.
				if err := unix.Sendto(fd, f.data, 0, to); errors.Is(err, unix.ENOBUFS) {
					break
				} else if err != nil {
					return os.NewSyscallError("sendto", err)
				}
			}
			<-tick.C
		}
		return nil
	})
	return sent, err
}

// handedOut is what an attach has come to.
type handedOut struct {
	mac, server string
	addr        netip.Addr
}

// attachInALoop attaches and detaches a container until stop, and returns what it got.
func (l *lab) attachInALoop(c *testlab.Container, stop <-chan struct{}) (got []handedOut) {
	for {
		select {
		case <-stop:
			return got
		default:
		}
		r, err := l.TryAttach(c.Sandbox, resource, c.AttachBody())
		var a answer
		if err == nil {
			a, err = decode(r)
		}
		if err != nil {
			l.t.Errorf("during the flood: %v", err)
			return got
		}
		got = append(got, handedOut{a.Interfaces[0].MAC, a.Lease.Server, a.ip()})
		if r, err = l.TryDetach(c.Sandbox, resource, c.DetachBody()); err != nil || r.Status != http.StatusNoContent {
			l.t.Errorf("detach during the flood: %d %s (%v)", r.Status, r.Body, err)
			return got
		}
	}
}

// A host of the LAN sends all that it can think of to containers that get, renew and
// release leases. Their MACs are known to it: they are the same each time.
func TestFloodOfHostileFrames(t *testing.T) {
	l := newLab(t, []testlab.User{dave}, testlab.WithDnsmasq(testlab.Dnsmasq.Conf(testlab.Terms{Lease: 2 * time.Minute, T1: 3 * time.Second})...))
	// The frames are to be a burden, not how often the loops' user may ask.
	l.Configure(func(config map[string]any) { config["limits"] = map[string]any{"rate_per_user": 1000} })
	l.Start()
	pid := l.PID()
	stay, loop := dave.Containers(t, 8), dave.Containers(t, 6)
	rnd := rand.New(rand.NewPCG(1, 2))
	server := netip.MustParseAddr(testlab.LANServer)
	var frames []frame
	var watches []*addressWatch
	var got []handedOut
	for _, c := range slices.Concat(stay, loop) {
		a := l.attach(c)
		mac, err := net.ParseMAC(a.Interfaces[0].MAC)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, handedOut{a.Interfaces[0].MAC, a.Lease.Server, a.ip()})
		frames = append(frames, hostileFrames(rnd, mac, server, a.ip())...)
	}
	for _, c := range stay {
		watches = append(watches, watchAddresses(t, c))
	}
	for _, c := range loop {
		l.detach(c)
	}
	renewedBefore := l.renewed()
	s := sample(pid)

	stop := make(chan struct{})
	var looping sync.WaitGroup
	var mu sync.Mutex
	for _, c := range loop {
		looping.Go(func() {
			mine := l.attachInALoop(c, stop)
			mu.Lock()
			defer mu.Unlock()
			got = append(got, mine...)
		})
	}
	start := time.Now()
	sent, err := l.flood(frames, rnd, floodFor)
	rate := float64(sent) / time.Since(start).Seconds()
	close(stop)
	looping.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d frames, of %d different ones, %.0f a second; %d attaches; %d renewals; %.0f bad frames counted", sent, len(frames), rate,
		len(got)-len(stay)-len(loop), l.renewed()-renewedBefore, l.Metric("net_porter_dhcp_bad_frames_total"))
	if rate < floodRate/2 { // a slow machine sends what it can
		t.Logf("only %.0f frames were sent a second, of about %d", rate, floodRate)
	}
	l.wantWithin("during the flood", s.most())
	if l.PID() != pid || l.HTTP(testlab.Request{Method: http.MethodGet, Path: "/healthz"}).Status != http.StatusOK {
		t.Error("the daemon is not what it was")
	}
	if l.Metric("net_porter_dhcp_bad_frames_total") == 0 {
		t.Error("no bad frame was counted: the flood did not arrive")
	}
	if l.renewed() == renewedBefore {
		t.Error("nothing was renewed meanwhile")
	}
	l.wantFromServer(got, server)
	now := l.attachments()
	for i, c := range stay {
		addr := got[i].addr
		if gone := watches[i].removed(); len(gone) > 0 || now[c.ID].ip() != addr || !slices.Equal(watches[i].addresses(), []netip.Addr{addr}) {
			t.Errorf("a container that had %s has %v, the daemon says %s; taken away was %q", addr, watches[i].addresses(), now[c.ID].ip(), gone)
		}
		if !l.lan.Server().HasLease(addr) {
			t.Errorf("the server has no lease of %s", addr)
		}
		l.lan.Ping(addr)
		l.detach(c)
	}
	l.wantNothingLeft()
}

// wantFromServer fails the test unless the LAN's server has granted every address to just
// that container.
func (l *lab) wantFromServer(got []handedOut, server netip.Addr) {
	l.t.Helper()
	granted := map[[2]string]bool{}
	for _, line := range messages(l.lan.Log(), "DHCPACK(lan0)") {
		if len(line) >= 2 {
			granted[[2]string{line[0], line[1]}] = true
		}
	}
	for _, g := range got {
		if g.server != server.String() || !granted[[2]string{g.addr.String(), g.mac}] {
			l.t.Errorf("%s has got %s of %s, which the server has not granted to it", g.mac, g.addr, g.server)
		}
	}
}
