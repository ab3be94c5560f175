package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	clientPort = 68 // RFC 2131, section 4.1
	serverPort = 67
	// maxMessage is what servers are told to send at most (option 57): one Ethernet
	// frame's IP packet.
	maxMessage   = 1500
	ipHeaderLen  = 20
	udpHeaderLen = 8
	chaddrOffset = 28 // of the client's MAC in a DHCP message (RFC 2131, section 2)
)

// port is UDP port 68 of an interface that may have no address yet: a packet socket
// (packet(7)) that carries IPv4.
type port struct {
	file  *os.File
	raw   syscall.RawConn
	index int
	buf   [maxMessage]byte
}

// openPort must be called inside the interface's namespace. What is received is
// filtered in the kernel from the first frame on: DHCP replies to mac alone.
func openPort(index int, mac net.HardwareAddr) (*port, error) {
	// Protocol 0 receives nothing until bind(2) names one.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a packet socket: %w", err)
	}
	p := &port{file: os.NewFile(uintptr(fd), "dhcp"), index: index}
	if err := setFilter(fd, mac); err != nil {
		p.close()
		return nil, fmt.Errorf("cannot filter a packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IP), Ifindex: index}); err != nil {
		p.close()
		return nil, fmt.Errorf("cannot bind a packet socket: %w", err)
	}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *port) close() { p.file.Close() }

// send sends one message; dst decides about the frame's destination, the addresses
// about the packet's. It waits for nothing: no route and no ARP is needed, and when it
// returns the frame is with the driver.
func (p *port) send(dst net.HardwareAddr, from, to netip.Addr, message []byte) error {
	return p.write(dst, unix.ETH_P_IP, udpPacket(from, to, message))
}

// announce tells everybody on the LAN that addr is at mac now: machines remember for a
// while who had it before, and would not reach its new owner (RFC 2131, section 4.4.1;
// RFC 5227, section 2.3). The kernel announces only addresses that are there when the
// link comes up, which for DHCP it does before.
func (p *port) announce(mac net.HardwareAddr, addr netip.Addr) error {
	ip := addr.As4()
	// Ethernet, IPv4, their lengths, request (RFC 826); sender and target are the same.
	packet := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	packet = append(append(packet, mac...), ip[:]...)
	packet = append(append(packet, make([]byte, len(mac))...), ip[:]...)
	return p.write(broadcastMAC(), unix.ETH_P_ARP, packet)
}

func broadcastMAC() net.HardwareAddr { return net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

func (p *port) write(dst net.HardwareAddr, protocol uint16, packet []byte) error {
	sa := &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: p.index, Halen: uint8(len(dst))}
	copy(sa.Addr[:], dst)
	var sendErr error
	err := p.raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), packet, 0, sa)
		return sendErr != unix.EAGAIN
	})
	return portError(errors.Join(err, sendErr))
}

// receive returns the next DHCP message and the MAC it came from, or
// os.ErrDeadlineExceeded at the deadline or when ctx ends. The message is valid until
// the next call.
func (p *port) receive(ctx context.Context, deadline time.Time) (message []byte, from net.HardwareAddr, err error) {
	if err := p.file.SetReadDeadline(deadline); err != nil {
		return nil, nil, err
	}
	// Registered after the deadline is set, so that it has the last word.
	stop := context.AfterFunc(ctx, func() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		var n int
		var sa unix.Sockaddr
		var recvErr error
		err := p.raw.Read(func(fd uintptr) bool {
			n, sa, recvErr = unix.Recvfrom(int(fd), p.buf[:], 0)
			return recvErr != unix.EAGAIN
		})
		if err == nil {
			err = recvErr // else the EAGAIN of the last try, before err ended the wait
		}
		if err != nil {
			return nil, nil, portError(err)
		}
		ll, ok := sa.(*unix.SockaddrLinklayer)
		if !ok || ll.Pkttype == unix.PACKET_OUTGOING || ll.Halen != 6 {
			continue
		}
		if message, ok := udpPayload(p.buf[:n]); ok {
			return message, net.HardwareAddr(append([]byte(nil), ll.Addr[:6]...)), nil
		}
	}
}

func portError(err error) error {
	if errors.Is(err, unix.ENETDOWN) {
		return fmt.Errorf("%w: it went down during the exchange", ErrLinkDown)
	}
	return err
}

// setFilter drops in the kernel what is not the first fragment of a UDP packet to
// port 68 that carries a BOOTREPLY to mac, so that a flood of the LAN does not reach
// the daemon.
func setFilter(fd int, mac net.HardwareAddr) error {
	program, err := bpf.Assemble(filter(mac))
	if err != nil {
		return err
	}
	insns := make([]unix.SockFilter, len(program))
	for i, in := range program {
		insns[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(insns)), Filter: &insns[0]})
}

// filter's jumps go to its last instruction, which drops the packet.
func filter(mac net.HardwareAddr) []bpf.Instruction {
	const message = udpHeaderLen // offset from the end of the IP header
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 12},
		bpf.LoadAbsolute{Off: 6, Size: 2}, // flags and fragment offset
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 10},
		bpf.LoadMemShift{Off: 0}, // X = length of the IP header
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clientPort, SkipTrue: 7},
		bpf.LoadIndirect{Off: message, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 2, SkipTrue: 5}, // BOOTREPLY
		bpf.LoadIndirect{Off: message + chaddrOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(mac[:4]), SkipTrue: 3},
		bpf.LoadIndirect{Off: message + chaddrOffset + 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:])), SkipTrue: 1},
		bpf.RetConstant{Val: 0xffff},
		bpf.RetConstant{Val: 0},
	}
}

// udpPayload returns the payload of an IPv4 packet's UDP datagram to port 68. The UDP
// checksum is not looked at: between two ends of a veth it is not computed.
func udpPayload(packet []byte) ([]byte, bool) {
	if len(packet) < ipHeaderLen || packet[0]>>4 != 4 {
		return nil, false
	}
	header := int(packet[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(packet[2:]))
	if header < ipHeaderLen || total > len(packet) || total < header+udpHeaderLen {
		return nil, false
	}
	udp := packet[header:total] // frames are padded at the end
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if packet[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(udp[2:]) != clientPort ||
		length < udpHeaderLen || length > len(udp) {
		return nil, false
	}
	return udp[udpHeaderLen:length], true
}

// udpPacket puts IPv4 (RFC 791) and UDP (RFC 768) headers before a message from the
// client's port to the server's.
func udpPacket(from, to netip.Addr, message []byte) []byte {
	const headers = ipHeaderLen + udpHeaderLen
	b := make([]byte, headers, headers+len(message))
	b[0] = 4<<4 | ipHeaderLen/4
	binary.BigEndian.PutUint16(b[2:], uint16(headers+len(message)))
	b[8], b[9] = 64, unix.IPPROTO_UDP
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:ipHeaderLen], 0))

	udp := b[ipHeaderLen:]
	binary.BigEndian.PutUint16(udp[0:], clientPort)
	binary.BigEndian.PutUint16(udp[2:], serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpHeaderLen+len(message)))
	b = append(b, message...)
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(udpHeaderLen+len(message)) + uint32(sum(b[12:ipHeaderLen], 0))
	check := ^sum(b[ipHeaderLen:], pseudo)
	if check == 0 {
		check = 0xffff // zero would mean that there is none
	}
	binary.BigEndian.PutUint16(b[ipHeaderLen+6:], check)
	return b
}

// sum is the one's complement sum of RFC 1071.
func sum(b []byte, initial uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		initial += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		initial += uint32(b[0]) << 8
	}
	for initial > 0xffff {
		initial = initial>>16 + initial&0xffff
	}
	return uint16(initial)
}

// networkOrder is htons(3).
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
