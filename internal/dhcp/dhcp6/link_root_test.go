package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestDuplicateAddressDetectionIsWaitedFor(t *testing.T) {
	lan := silentLAN(t)
	n := newNeighbour(t, lan)
	n.start(func(sent *dhcpv6.Message, client unix.Sockaddr) {
		from := client.(*unix.SockaddrInet6)
		if addr := netip.AddrFrom16(from.Addr); !addr.IsLinkLocalUnicast() || from.Port != clientPort {
			t.Errorf("asked from %s, port %d", addr, from.Port)
		}
		n.send(n.servers, answer(sent), client)
	})
	ns := lan.NewContainerNS(testIfname)
	c := open(t, ns, 16)
	setUp(t, ns)
	// A global address that is ready at once is no address to ask from.
	if err := ns.Do(func() error { return ip("addr", "add", "2001:db8:1::77/64", "dev", testIfname, "nodad") }); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Acquire(bounded(t), grant.Wish{}); err != nil {
		t.Error(err)
	}
}

// A container that is a DHCPv6 server is not its own.
func TestServerInsideTheContainer(t *testing.T) {
	ns := container(t, silentLAN(t))
	n := neighbourIn(t, ns, testIfname)
	n.start(func(sent *dhcpv6.Message, client unix.Sockaddr) { n.send(n.servers, answer(sent), client) })
	c := open(t, ns, 16)
	ready(t, c)
	if g, err := c.Acquire(within(t, 500*time.Millisecond), grant.Wish{}); !errors.Is(err, grant.ErrNoOffer) {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestLinkThatIsNotReady(t *testing.T) {
	lan := silentLAN(t)
	c := open(t, lan.NewContainerNS(testIfname), 1)
	if _, err := c.Acquire(within(t, 50*time.Millisecond), grant.Wish{}); !errors.Is(err, grant.ErrLinkDown) {
		t.Errorf("in time: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the user hung up")
	cancel(cause)
	if _, err := c.Acquire(ctx, grant.Wish{}); !errors.Is(err, cause) {
		t.Errorf("abandoned: %v", err)
	}
}

func TestDuplicateOfTheLinkLocalAddress(t *testing.T) {
	lan := silentLAN(t)
	other, ns := lan.NewContainerNS(testIfname), lan.NewContainerNS(testIfname)
	for _, n := range []*testlab.Netns{other, ns} {
		setSysctl(t, n, "addr_gen_mode", "1")
	}
	setUp(t, other)
	if err := other.Do(func() error { return ip("addr", "add", "fe80::7/64", "dev", testIfname, "nodad") }); err != nil {
		t.Fatal(err)
	}
	setUp(t, ns)
	if _, err := tryOpen(t, ns, 1); err == nil || !strings.Contains(err.Error(), "addr_gen_mode") {
		t.Errorf("without a link-local address: %v", err)
	}
	setSysctl(t, ns, "addr_gen_mode", "0")
	setSysctl(t, ns, "accept_dad", "1")
	c := open(t, ns, 1)
	if err := ns.Do(func() error {
		if err := ip("addr", "flush", "dev", testIfname, "scope", "link"); err != nil {
			return err
		}
		return ip("addr", "add", "fe80::7/64", "dev", testIfname)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Acquire(bounded(t), grant.Wish{}); err == nil || !strings.Contains(err.Error(), "fe80::7") {
		t.Errorf("Acquire: %v", err)
	}
}

func TestIPv6IsDisabled(t *testing.T) {
	lan := silentLAN(t)
	ns := container(t, lan)
	setSysctl(t, ns, "disable_ipv6", "1")
	if _, err := tryOpen(t, ns, 1); err == nil || !strings.Contains(err.Error(), "disable_ipv6") {
		t.Errorf("disable_ipv6: %v", err)
	}
	setSysctl(t, ns, "disable_ipv6", "0")
	if err := ns.Do(func() error { return ip("link", "set", testIfname, "mtu", "1000") }); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, ns, 1); err == nil || !strings.Contains(err.Error(), "MTU") {
		t.Errorf("small MTU: %v", err)
	}
	if _, err := tryOpen(t, ns, 1, func(c *Config) { c.Index = 4711 }); !errors.Is(err, unix.ENODEV) {
		t.Errorf("no such interface: %v", err)
	}
}

// The container's root may run a DHCPv6 client, too.
func TestPortIsTaken(t *testing.T) {
	lan := newLAN(t)
	ns := container(t, lan)
	listen := func(reuse int) {
		t.Helper()
		lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, reuse)
			}), err)
		}}
		var conn net.PacketConn
		if err := ns.Do(func() (err error) {
			conn, err = lc.ListenPacket(t.Context(), "udp6", fmt.Sprintf("[::]:%d", clientPort))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	listen(1)
	c := open(t, ns, 1)
	mustAcquire(t, c, lan, grant.Wish{})
	c.Close()

	ns = container(t, lan)
	listen(0)
	c = open(t, ns, 2)
	if _, err := c.Acquire(bounded(t), grant.Wish{}); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "inside the container") {
		t.Errorf("Acquire: %v", err)
	}
}

func TestNothingIsHeldAfterClose(t *testing.T) {
	lan := newLAN(t)
	ns := container(t, lan)
	// The kernel removes one end of a veth pair with the other's namespace.
	const canary = "canary"
	if err := ip("link", "add", canary, "type", "veth", "peer", "name", "canary1", "netns", ns.Path()); err != nil {
		t.Fatal(err)
	}
	updates, done := make(chan netlink.LinkUpdate, 100), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	c := open(t, ns, 1)
	mustAcquire(t, c, lan, grant.Wish{})
	if _, err := tryOpen(t, ns, 1, func(c *Config) { c.Index = 4711 }); err == nil {
		t.Fatal("opened an interface that is not there")
	}
	c.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	ns.Close()
	for timeout := time.After(2 * time.Minute); ; {
		if _, err := netlink.LinkByName(canary); errors.As(err, &netlink.LinkNotFoundError{}) {
			return
		}
		select {
		case <-updates:
		case <-timeout:
			t.Fatal("the namespace still lives")
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
