package dhcp4

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

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

// port is UDP port 68 of an interface that may have no address yet, and its ARP.
type port struct {
	packetSocket
	arpPort arpPort
	// sink has port 68 of the kernel's own UDP, which would answer a server's unicast to
	// an address in use with an ICMP error; -1 if somebody in the container has it.
	sink int
}

// openPort must be called inside the interface's namespace.
func openPort(index int, mac net.HardwareAddr) (*port, error) {
	p := &port{sink: openSink(index)}
	err := p.open(index)
	if err == nil {
		if err = p.arpPort.open(index); err == nil {
			err = p.receiveOnly(unix.ETH_P_IP, dhcpFilter(mac))
		}
	}
	if err != nil {
		p.close()
		return nil, socketError(err)
	}
	return p, nil
}

func openSink(index int) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // the kernel's least
		unix.Bind(fd, &unix.SockaddrInet4{Port: clientPort}))
	if err != nil {
		unix.Close(fd)
		return -1
	}
	return fd
}

func (p *port) close() {
	for _, s := range []*packetSocket{&p.packetSocket, &p.arpPort.packetSocket} {
		if s.file != nil {
			s.close()
		}
	}
	if p.sink >= 0 {
		unix.Close(p.sink)
	}
}

func (p *port) arp() arpWire { return &p.arpPort }

// send sends one message; dst decides about the frame's destination, the addresses
// about the packet's.
func (p *port) send(dst net.HardwareAddr, from, to netip.Addr, message []byte) error {
	return p.write(dst, unix.ETH_P_IP, udpPacket(from, to, message))
}

// receive returns the next DHCP message and the MAC it came from, or
// os.ErrDeadlineExceeded at the deadline or when ctx ends. The message is valid until
// the next call.
func (p *port) receive(ctx context.Context, deadline time.Time) (message []byte, from net.HardwareAddr, err error) {
	return receiveMessage(ctx, &p.packetSocket, deadline)
}

func receiveMessage(ctx context.Context, p *packetSocket, deadline time.Time) (message []byte, from net.HardwareAddr, err error) {
	for {
		packet, from, err := p.read(ctx, deadline)
		if err != nil {
			return nil, nil, err
		}
		if message, ok := udpPayload(packet); ok {
			return message, from, nil
		}
	}
}
