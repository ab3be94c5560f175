package dhcp4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// packetSocket is a packet socket (packet(7)) of one interface, without link-layer
// headers. It is in Go's poller: whoever waits for it holds no thread.
type packetSocket struct {
	file  *os.File
	raw   syscall.RawConn
	index int
	buf   [maxMessage]byte
}

// open must be called inside the interface's namespace. The socket receives
// nothing until it is bound to a protocol.
func (p *packetSocket) open(index int) error { return p.openAs(unix.SOCK_DGRAM, index) }

// openAs is open for a socket with link-layer headers, SOCK_RAW, or without, SOCK_DGRAM.
func (p *packetSocket) openAs(kind, index int) error {
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot open a packet socket: %w", err)
	}
	p.file, p.index = os.NewFile(uintptr(fd), "packet"), index
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
	}
	return err
}

// receiveOnly has the socket receive what of a protocol (linux/if_ether.h) the filter admits.
func (p *packetSocket) receiveOnly(protocol uint16, filter []bpf.Instruction) error {
	return p.control(func(fd int) error {
		if err := setFilter(fd, filter); err != nil {
			return fmt.Errorf("cannot filter a packet socket: %w", err)
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: p.index})
	})
}

func (p *packetSocket) close() { p.file.Close() }

func (p *packetSocket) control(fn func(fd int) error) error {
	var fnErr error
	if err := p.raw.Control(func(fd uintptr) { fnErr = fn(int(fd)) }); err != nil {
		return err
	}
	return fnErr
}

// write waits for nothing: no route and no ARP is needed, and when it returns the frame
// is with the driver.
func (p *packetSocket) write(dst net.HardwareAddr, protocol uint16, packet []byte) error {
	sa := &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: p.index, Halen: uint8(len(dst))}
	copy(sa.Addr[:], dst)
	var sendErr error
	err := p.raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), packet, 0, sa)
		return sendErr != unix.EAGAIN
	})
	return socketError(errors.Join(err, sendErr))
}

// read returns the next packet from outside and the MAC it came from, or
// os.ErrDeadlineExceeded at the deadline or when ctx ends. The packet is valid until the
// next call.
func (p *packetSocket) read(ctx context.Context, deadline time.Time) (packet []byte, from net.HardwareAddr, err error) {
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
			return nil, nil, socketError(err)
		}
		if mac, ok := outside(sa); ok {
			return p.buf[:n], mac, nil
		}
	}
}

// queued returns a packet from outside that has arrived already, if there is one; what
// the interface itself has sent is passed over.
func (p *packetSocket) queued() (packet []byte, ok bool) {
	_ = p.control(func(fd int) error {
		for range maxLate {
			n, sa, err := unix.Recvfrom(fd, p.buf[:], unix.MSG_DONTWAIT)
			if err != nil {
				return err
			}
			if _, ok = outside(sa); ok {
				packet = p.buf[:n]
				return nil
			}
		}
		return nil
	})
	return packet, ok
}

// outside returns the MAC that a packet came from, unless the interface itself has sent it.
func outside(sa unix.Sockaddr) (from net.HardwareAddr, ok bool) {
	ll, ok := sa.(*unix.SockaddrLinklayer)
	if !ok || ll.Pkttype == unix.PACKET_OUTGOING || ll.Halen != 6 {
		return nil, false
	}
	return net.HardwareAddr(append([]byte(nil), ll.Addr[:6]...)), true
}

func socketError(err error) error {
	if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("%w: it went down during the exchange", grant.ErrLinkDown)
	}
	return err
}

func broadcastMAC() net.HardwareAddr { return net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// networkOrder is htons(3).
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
