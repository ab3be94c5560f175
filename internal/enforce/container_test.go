package enforce_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/enforce"
	"github.com/net-porter/net-porter/internal/testlab"
)

// say sends datagrams with a mark by the kernel of the namespace, nil for the host's.
func say(t testing.TB, ns *testlab.Netns, from, to, name string, times int, options ...int) {
	t.Helper()
	local, remote := netip.MustParseAddr(from), netip.MustParseAddr(to)
	dial := net.Dialer{
		LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)),
		Control: func(_, _ string, c syscall.RawConn) (err error) {
			controlErr := c.Control(func(fd uintptr) {
				for i := 0; i+1 < len(options); i += 2 {
					err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, options[i], options[i+1]))
				}
			})
			return errors.Join(err, controlErr)
		},
	}
	send := func() error {
		conn, err := dial.Dial("udp", net.JoinHostPort(remote.String(), "4000"))
		if err != nil {
			return err
		}
		defer conn.Close()
		for range times {
			_, err := conn.Write(mark(name))
			for errors.Is(err, unix.ECONNREFUSED) { // of an earlier one; then nothing was sent
				_, err = conn.Write(mark(name))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	must(t, onOneCPU(ns, send))
}

// A container's root sets another MAC or address with ip(8), and goes on as anybody does.
func TestChangedMACAndAddressesAreNoUse(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	in(t, s.container, "ip", "addr", "add", "192.0.2.77/24", "dev", "eth0")
	in(t, s.container, "ip", "addr", "add", "2001:db8::77/64", "dev", "eth0", "nodad")
	become := func(m net.HardwareAddr) {
		in(t, s.container, "ip", "link", "set", "eth0", "address", m.String())
		// The change has emptied the tables of neighbours.
		for _, neighbour := range []string{lan4, "2001:db8::1"} {
			in(t, s.container, "ip", "neigh", "replace", neighbour, "lladdr", s.lanMAC.String(), "dev", "eth0", "nud", "permanent")
		}
	}
	const times = 100
	try := func() map[string]int {
		become(own)
		say(t, s.container, "192.0.2.77", lan4, "another IPv4 address", times)
		say(t, s.container, "2001:db8::77", "2001:db8::1", "another IPv6 address", times)
		for _, m := range []net.HardwareAddr{stranger, other} {
			become(m)
			say(t, s.container, own4, lan4, "IPv4 of MAC "+m.String(), times)
			say(t, s.container, own6, "2001:db8::1", "IPv6 of MAC "+m.String(), times)
		}
		become(own)
		say(t, s.container, own4, lan4, "its own", times)
		say(t, s.container, own4, lan4, "end", 1)
		return s.tap.until("end")
	}
	if before := try(); len(before) != 7 || sum(before) != 7*times {
		t.Fatalf("without enforcement there arrive %v, so this measures nothing", before)
	}
	must(t, e.Reconcile([]string{"infra"}, held))
	if after := try(); after["its own"] != times || len(after) != 1 {
		t.Errorf("there arrive %v, want what is sent as itself alone", after)
	}
}

// What is made of an address by the container is what a router advertises, if the
// resource lets it.
func TestAddressesOfRouterAdvertisements(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	without := held[0]
	without.SLAAC = false
	frames := []frame{{"slaac", 0, ether(own, s.lanMAC, 0x86dd, cat(ipv6(ownSLAAC, "2001:db8::1", 17, udp(1, 2, nil)), mark("slaac")))}}
	for _, c := range []struct {
		held enforce.Held
		want int
	}{{held[0], 1}, {without, 0}} {
		must(t, e.Reconcile([]string{"infra"}, []enforce.Held{c.held}))
		if got := s.arrived(frames, 1)["slaac"]; got != c.want {
			t.Errorf("SLAAC %v: %d frames arrive, want %d", c.held.SLAAC, got, c.want)
		}
	}
}

// The whole life of a DHCP lease, as the lease service asks for it: nothing but the MAC is
// known when it begins.
func TestLeaseIsAcquiredRenewedAndReleased(t *testing.T) {
	lan := testlab.NewLAN(t)
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, nil))
	h := enforce.Held{ID: "own", Parent: "infra", MAC: own}
	must(t, e.Admit(h))
	ns := newContainer(t, own, "private")
	var client *dhcp4.Client
	must(t, ns.Do(func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		client, err = dhcp4.Open(dhcp4.Config{
			Index: link.Index, MAC: own, Probe: true, Log: slog.New(slog.DiscardHandler),
			Params: dhcp4.Params{ClientID: []byte("enforce"), Requested: []byte{1, 3}}, BadFrame: func() {},
		})
		return err
	}))
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lease, err := client.Acquire(ctx, grant.Wish{})
	must(t, err)
	address := lease.Address.Addr()
	must(t, e.Update("own", []netip.Addr{address}))
	in(t, ns, "ip", "addr", "add", lease.Address.String(), "dev", "eth0")
	must(t, client.Announce(address))
	lan.Ping(address)
	lease, err = client.Renew(ctx, lease)
	must(t, err)
	lan.Server().WaitMessage("DHCPACK", address, 2)
	lease, err = client.Rebind(ctx, lease)
	must(t, err)
	must(t, client.Release(ctx, lease))
	lan.Server().WaitFree(address)
	must(t, e.Remove("own"))
	if _, err := client.Acquire(shortly(t), grant.Wish{}); err == nil {
		t.Error("what is no longer admitted gets an address")
	}
}

func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// Neighbours find one another, with the kernel's own ARP, neighbour discovery and
// duplicate address detection, and multicast listeners are reported.
func TestNeighboursFindOneAnother(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, held))
	fresh := newContainer(t, other, "private", other4)
	in(t, fresh, "ip", "addr", "add", other6+"/64", "dev", "eth0") // with detection
	in(t, fresh, "ip", "addr", "add", "239.1.2.3/32", "dev", "eth0", "autojoin")
	for _, to := range []string{lan4, "2001:db8::1"} {
		waitPing(t, fresh, to)
	}
	s.lan.Ping(netip.MustParseAddr(other4))
	waitPing(t, s.lan.Netns, other6)
	waitPing(t, s.lan.Netns, otherLocal+"%lan0")
}

func waitPing(t testing.TB, ns *testlab.Netns, to string) {
	t.Helper()
	wait(t, "an answer to pings from "+to, func() bool {
		return answers(ns, to)
	})
}

// wait asks until it is so: nothing tells of it.
func wait(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("no %s within 20 s", what)
		}
	}
}

// A container on one parent is nobody on another.
func TestWhatIsHeldOnOneParentIsNotOnAnother(t *testing.T) {
	s := newScene(t, "private")
	testlab.NewLAN(t, testlab.WithoutServer(), testlab.WithParent("infra2"))
	e := newEnforcer(t)
	moved := held[0]
	moved.Parent = "infra2"
	must(t, e.Reconcile([]string{"infra", "infra2"}, []enforce.Held{moved, held[1]}))
	s.sender.send(0, honest(s.lanMAC)[0].data)
	s.sender.send(0, ether(other, s.lanMAC, 0x800, cat(ipv4(other4, lan4, 17, 0, nil, udp(1, 2, nil)), mark("end"))))
	if got := s.tap.until("end"); len(got) != 0 {
		t.Errorf("there arrive %v", got)
	}
}

// Two attachments may hold the same for a while: a container and its successor.
func TestWhatTwoHoldStaysWithTheOther(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	again := held[0]
	again.ID = "successor"
	must(t, e.Reconcile([]string{"infra"}, []enforce.Held{held[0], again, held[1]}))
	arrives := func() int {
		t.Helper()
		s.sender.send(0, honest(s.lanMAC)[0].data)
		s.sender.send(0, ether(other, s.lanMAC, 0x800, cat(ipv4(other4, lan4, 17, 0, nil, udp(1, 2, nil)), mark("end"))))
		return s.tap.until("end")["udp"]
	}
	for i, step := range []func() error{
		func() error { return nil },
		func() error { return e.Remove("own") },
		func() error { return e.Remove("own") },
		func() error { return e.Admit(held[0]) },
		func() error { return e.Remove("successor") },
		func() error { return e.Update("own", ips(own4)) },
	} {
		must(t, step())
		if arrives() != 1 {
			t.Fatalf("step %d: what an attachment holds is dropped", i)
		}
	}
	must(t, e.Update("own", ips("192.0.2.60")))
	if arrives() != 0 {
		t.Error("an address that is no longer held passes")
	}
	must(t, e.Admit(held[0]))
	must(t, e.Remove("own"))
	if arrives() != 0 {
		t.Error("an attachment that is gone passes")
	}
}

func TestWhatCannotBeEnforcedIsRefused(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	e := newEnforcer(t)
	for _, c := range []struct {
		held enforce.Held
		want error
	}{
		{enforce.Held{ID: "", Parent: "infra", MAC: own}, enforce.ErrHeld},
		{enforce.Held{ID: "a", Parent: "", MAC: own}, enforce.ErrHeld},
		{enforce.Held{ID: "a", Parent: "infra"}, enforce.ErrHeld},
		{enforce.Held{ID: "a", Parent: "infra", MAC: broadcast}, enforce.ErrHeld},
		{enforce.Held{ID: "a", Parent: "infra", MAC: make(net.HardwareAddr, 6)}, enforce.ErrHeld},
		{enforce.Held{ID: "a", Parent: "infra", MAC: own, Addrs: ips("0.0.0.0")}, enforce.ErrHeld},
		{enforce.Held{ID: "a", Parent: "infra", MAC: own, Addrs: ips("ff02::1")}, enforce.ErrHeld},
		{enforce.Held{ID: "a", Parent: "infra", MAC: own, Addrs: ips("::ffff:127.0.0.1")}, enforce.ErrHeld},
		{enforce.Held{ID: "a", Parent: "nowhere", MAC: own}, enforce.ErrNoParent},
	} {
		if err := e.Admit(c.held); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.held, err, c.want)
		}
	}
	if err := e.Update("a", nil); !errors.Is(err, enforce.ErrNotAdmitted) {
		t.Errorf("an update of nobody: %v", err)
	}
	must(t, e.Remove("a"))
	if got := command(t, "nft", "list", "ruleset"); got != "" {
		t.Errorf("there are rules though nothing was admitted: %s", got)
	}
}
