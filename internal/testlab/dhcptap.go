package testlab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// tapDHCP writes the DHCP messages that pass a server's interface into its log, in
// dnsmasq's words, for as long as the server runs.
func tapDHCP(s *dhcpServer) error {
	var tap *os.File
	err := s.netns.Do(func() error {
		link, err := net.InterfaceByName(lanPort)
		if err != nil {
			return err
		}
		// ETH_P_ALL, as only this shows what the server sends (packet(7)).
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		tap = os.NewFile(uintptr(fd), "tap")
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index})
	})
	if err != nil {
		return fmt.Errorf("cannot see what is sent on %s: %w", lanPort, err)
	}
	ended := s.child.ended
	go func() { <-ended; tap.Close() }()
	go func() {
		asked := map[dhcpv4.TransactionID]netip.Addr{} // a refusal does not name the address
		for packet := make([]byte, 1<<16); ; {
			n, err := tap.Read(packet)
			if err != nil {
				return
			}
			if m := dhcpMessage(packet[:n]); m != nil {
				fmt.Fprintf(s.log, "tap: DHCP%s(%s) %s %s\n", m.MessageType(), lanPort, addressOf(m, asked), m.ClientHWAddr)
			}
		}
	}()
	return nil
}

// dhcpMessage is the DHCP message in an IPv4 packet (RFC 791, RFC 768), or nil.
func dhcpMessage(packet []byte) *dhcpv4.DHCPv4 {
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != unix.IPPROTO_UDP {
		return nil
	}
	header := int(packet[0]&0x0f) * 4
	if len(packet) < header+8 {
		return nil
	}
	port := int(packet[header+2])<<8 | int(packet[header+3])
	if port != dhcpv4.ServerPort && port != dhcpv4.ClientPort {
		return nil
	}
	m, err := dhcpv4.FromBytes(packet[header+8:])
	if err != nil {
		return nil
	}
	return m
}

// addressOf is the address that a message is about.
func addressOf(m *dhcpv4.DHCPv4, asked map[dhcpv4.TransactionID]netip.Addr) netip.Addr {
	if m.MessageType() == dhcpv4.MessageTypeNak {
		return asked[m.TransactionID]
	}
	for _, ip := range []net.IP{m.YourIPAddr, m.RequestedIPAddress(), m.ClientIPAddr} {
		if addr, ok := netip.AddrFromSlice(ip.To4()); ok && !addr.IsUnspecified() {
			asked[m.TransactionID] = addr
			return addr
		}
	}
	return netip.IPv4Unspecified()
}
