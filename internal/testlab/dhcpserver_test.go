package testlab

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// eachKind runs a test for every kind of server.
func eachKind(t *testing.T, test func(t *testing.T, kind ServerKind, parent LANOption)) {
	ofKinds(t, ServerKinds, test)
}

// ofKinds runs a test for some kinds of servers at the same time, on a LAN each.
func ofKinds(t *testing.T, kinds []ServerKind, test func(t *testing.T, kind ServerKind, parent LANOption)) {
	RequireRoot(t)
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, kind, WithParent(string(kind)))
		})
	}
}

func TestServersLeaseRenewAndRelease(t *testing.T) {
	eachKind(t, func(t *testing.T, kind ServerKind, parent LANOption) {
		lan := NewLAN(t, parent, WithServer(kind, kind.Conf(Terms{Lease: 3 * time.Minute, T1: 70 * time.Second, T2: 2 * time.Minute})...))
		s := lan.Server()
		c := newClient(t, lan)
		got := c.wait("bound", 1)
		want := map[string]string{"server": LANServer, "lease": "180", "router": LANServer, "T1": "00000046", "T2": "00000078"}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("the client got %s=%q, want %q", name, got[name], value)
			}
		}
		addr := c.bound()
		if !s.HasLease(addr) {
			t.Errorf("no lease of %s in\n%s", addr, s.Leases())
		}
		if other := netip.MustParseAddr("192.0.2.99"); s.HasLease(other) {
			t.Errorf("a lease of %s in\n%s", other, s.Leases())
		}
		c.renew()
		s.WaitMessage("DHCPREQUEST", addr, 2)
		s.WaitMessage("DHCPACK", addr, 2)
		c.wait("renew", 1)

		s.Stop()
		if !s.HasLease(addr) {
			t.Errorf("the lease of %s was lost at the stop:\n%s", addr, s.Leases())
		}
		s.Start()
		if !s.HasLease(addr) {
			t.Errorf("the lease of %s was lost at the start:\n%s", addr, s.Leases())
		}
		c.release()
		s.WaitMessage("DHCPRELEASE", addr, 1)
		s.WaitFree(addr)
	})
}

func TestServersRefuseAddressesOfOtherNetworks(t *testing.T) {
	eachKind(t, func(t *testing.T, kind ServerKind, parent LANOption) {
		lan := NewLAN(t, parent, WithServer(kind))
		addr := netip.MustParseAddr("198.51.100.9")
		ns := lan.NewContainerNS("eth0")
		must(t, ns.Do(func() error {
			return errors.Join(run("ip", "link", "set", "eth0", "up"), askFor(addr))
		}))
		lan.Server().WaitMessage("DHCPNAK", addr, 1)
	})
}

// askFor sends the request of a client that remembers an address (INIT-REBOOT, RFC
// 2131 section 4.3.2) out of eth0.
func askFor(addr netip.Addr) error {
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(link.HardwareAddr), dhcpv4.WithBroadcast(true),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(addr.AsSlice())))
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(
		unix.BindToDevice(fd, "eth0"), // it has no address to find a route by
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: dhcpv4.ClientPort}),
		unix.Sendto(fd, m.ToBytes(), 0, &unix.SockaddrInet4{Port: dhcpv4.ServerPort, Addr: [4]byte{255, 255, 255, 255}}),
	)
}

// A renewal is refused once the address is another's. Udhcpd does not answer it.
func TestServersRefuseToRenewWhatAnotherHas(t *testing.T) {
	ofKinds(t, []ServerKind{Dnsmasq, ISCDhcpd}, func(t *testing.T, kind ServerKind, parent LANOption) {
		lan := NewLAN(t, parent, WithServer(kind, kind.Conf(Terms{Last: lanFirst})...))
		c := newClient(t, lan)
		addr := c.bound()
		lan.StopServer()
		lan.Server().Forget()
		lan.StartServer()
		if got := newClient(t, lan).bound(); got != addr {
			t.Fatalf("the other client has %s, not %s: the server did not forget", got, addr)
		}
		c.renew()
		lan.Server().WaitMessage("DHCPNAK", addr, 1)
		c.wait("nak", 1)
	})
}

func TestConfigureIsForTheNextStart(t *testing.T) {
	eachKind(t, func(t *testing.T, kind ServerKind, parent LANOption) {
		lan := NewLAN(t, parent, WithServer(kind))
		lan.StopServer()
		lan.Server().Configure(kind.Conf(Terms{First: "192.0.2.42", Last: "192.0.2.42"})...)
		lan.StartServer()
		if got := newClient(t, lan).bound().String(); got != "192.0.2.42" {
			t.Errorf("the client has %s", got)
		}
	})
}

func TestServersLearnOfConflicts(t *testing.T) {
	eachKind(t, func(t *testing.T, kind ServerKind, parent LANOption) {
		taken := netip.MustParseAddr("192.0.2.100")
		lan := NewLAN(t, parent, WithServer(kind, kind.Conf(Terms{Last: taken.String()})...))
		neighbour := lan.NewContainerNS("eth0")
		must(t, neighbour.Do(func() error {
			return errors.Join(run("ip", "addr", "add", taken.String()+"/24", "dev", "eth0"), run("ip", "link", "set", "eth0", "up"))
		}))
		newClient(t, lan, "-a")
		lan.Server().WaitMessage("DHCPDECLINE", taken, 1)
		lan.Server().WaitFree(taken)
	})
}

// Not dnsmasq's, which are two minutes long.
func TestShortLeasesEnd(t *testing.T) {
	ofKinds(t, []ServerKind{ISCDhcpd, Udhcpd}, func(t *testing.T, kind ServerKind, parent LANOption) {
		lan := NewLAN(t, parent, WithServer(kind, kind.Conf(Terms{Lease: 12 * time.Second})...))
		c := newClient(t, lan)
		addr := c.bound()
		must(t, c.child.end(unix.SIGTERM, waitBound)) // without -R it releases nothing
		if !lan.Server().HasLease(addr) {
			t.Error("the lease ended at once")
		}
		lan.Server().WaitFree(addr)
		if strings.Contains(lan.Log(), "DHCPRELEASE") {
			t.Error("it was released")
		}
	})
}

func TestTheServerMoves(t *testing.T) {
	eachKind(t, func(t *testing.T, kind ServerKind, parent LANOption) {
		lan := NewLAN(t, parent, WithServer(kind, kind.Conf(Terms{Last: lanFirst})...))
		other := lan.AddServer(kind, kind.Conf(Terms{Last: lanFirst})...)
		third := lan.AddServer(Dnsmasq)
		c := newClient(t, lan)
		if got := c.wait("bound", 1)["server"]; got != LANServer {
			t.Errorf("%s answered, which is not running", got)
		}
		addr := c.bound()
		c.release()
		lan.Server().WaitFree(addr)
		lan.StopServer()
		other.Start()
		c.renew() // begins anew after a release
		if got := c.wait("bound", 2)["server"]; got != other.Addr().String() || got == LANServer {
			t.Errorf("%s answered, want %s", got, other.Addr())
		}
		other.WaitMessage("DHCPACK", addr, 1)
		if third.Log() != "" || third.Addr() == other.Addr() {
			t.Errorf("the third server, at %s, is running:\n%s", third.Addr(), third.Log())
		}
	})
}

// What a server that does not start says is in the test's failure.
func TestServerThatDoesNotStart(t *testing.T) {
	for kind, conf := range map[ServerKind][2]string{
		Dnsmasq:  {"--no-such-option", "bad command line options"},
		ISCDhcpd: {"range nowhere;", "range nowhere;"},
		Udhcpd:   {"interface nowhere", "nowhere"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			lan := NewLAN(t, WithServer(kind, conf[0]), WithoutServer())
			caught := &failures{TB: t}
			lan.server.t = caught
			caught.during(lan.StartServer)
			if !strings.Contains(caught.text, "does not start") || !strings.Contains(caught.text, conf[1]) {
				t.Errorf("the test fails with %q", caught.text)
			}
		})
	}
}
