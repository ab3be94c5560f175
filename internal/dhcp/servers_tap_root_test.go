package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// tap sees what reaches the LAN's first server, also when that is not running.
type tap struct {
	t    *testing.T
	file *os.File
}

func newTap(t *testing.T, lan *testlab.LAN) *tap {
	t.Helper()
	p := &tap{t: t}
	if err := lan.Do(func() error {
		dev, err := net.InterfaceByName("lan0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		p.file = os.NewFile(uintptr(fd), "tap")
		ip := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP))
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: dev.Index})
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.file.Close() })
	return p
}

// request waits for the next DHCPREQUEST that is one of a kind, and returns where it was
// sent to.
func (p *tap) request(kind func(*dhcpv4.DHCPv4) bool) (to netip.Addr) {
	p.t.Helper()
	if err := p.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	for packet := make([]byte, 1<<16); ; {
		n, err := p.file.Read(packet)
		if err != nil {
			p.t.Fatalf("no such DHCPREQUEST was seen: %v", err)
		}
		const headers = 20 + 8 // of IPv4 without options, and UDP
		if n < headers || packet[9] != unix.IPPROTO_UDP {
			continue
		}
		m, err := dhcpv4.FromBytes(packet[headers:n])
		if err == nil && m.OpCode == dhcpv4.OpcodeBootRequest && m.MessageType() == dhcpv4.MessageTypeRequest && kind(m) {
			return netip.AddrFrom4([4]byte(packet[16:20]))
		}
	}
}

// prolongs is what RENEWING and REBINDING send, and reboots what INIT-REBOOT does: RFC
// 2131, table 4.
func prolongs(m *dhcpv4.DHCPv4) bool {
	return !m.ClientIPAddr.IsUnspecified() && m.RequestedIPAddress() == nil && m.ServerIdentifier() == nil
}

func reboots(m *dhcpv4.DHCPv4) bool {
	return m.ClientIPAddr.IsUnspecified() && m.RequestedIPAddress() != nil && m.ServerIdentifier() == nil
}

// renewal waits for a request that is sent to one server, rebinding for one to all.
func (p *tap) renewal(server netip.Addr) {
	p.t.Helper()
	if to := p.request(prolongs); to != server {
		p.t.Errorf("the request went to %s, want %s", to, server)
	}
}

var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// rebinding waits for the first request to all servers; renewals may come before.
func (p *tap) rebinding() {
	p.t.Helper()
	for p.request(prolongs) != everybody {
	}
}

// addresses are the changes of the container's IPv4 addresses from now on.
func (s *site) addresses() <-chan netlink.AddrUpdate {
	s.t.Helper()
	updates, done := make(chan netlink.AddrUpdate, 100), make(chan struct{})
	s.t.Cleanup(func() { close(done) })
	if err := s.ns.Do(func() error { return netlink.AddrSubscribe(updates, done) }); err != nil {
		s.t.Fatal(err)
	}
	return updates
}

// untouched asserts that nobody has taken the address away, even for a moment, or put it
// there again.
func (s *site) untouched(updates <-chan netlink.AddrUpdate) {
	s.t.Helper()
	for {
		select {
		case u := <-updates:
			if s.isOf(u) {
				s.t.Errorf("the address was touched: %+v\n%s", u, s.log)
			}
		default:
			return
		}
	}
}

// gone waits until the address that the container got is taken away, and returns when
// that was.
func (s *site) gone(updates <-chan netlink.AddrUpdate) time.Time {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case u := <-updates:
			if !u.NewAddr && s.isOf(u) {
				return time.Now()
			}
		case <-timeout:
			s.t.Fatalf("%s is still there\n%s", s.addr, s.log)
		}
	}
}

func (s *site) isOf(u netlink.AddrUpdate) bool {
	return u.LinkAddress.IP.Equal(s.addr.AsSlice())
}
