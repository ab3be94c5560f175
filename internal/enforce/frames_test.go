package enforce_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// Frames are put together by hand, as whoever spoofs does it.

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func u16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func addr(text string) []byte { return netip.MustParseAddr(text).AsSlice() }

func ether(src, dst net.HardwareAddr, kind int, data []byte) []byte {
	return cat(dst, src, u16(kind), data)
}

func arp(op int, sha net.HardwareAddr, spa string, tpa string) []byte {
	return cat([]byte{0, 1, 8, 0, 6, 4}, u16(op), sha, addr(spa), make([]byte, 6), addr(tpa))
}

// ipv4 has options if they are given; frag is flags and offset.
func ipv4(src, dst string, proto, frag int, options, data []byte) []byte {
	h := cat([]byte{byte(0x45 + len(options)/4), 0}, u16(20+len(options)+len(data)), u16(1), u16(frag), []byte{64, byte(proto), 0, 0}, addr(src), addr(dst), options)
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return cat(h, data)
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func udp(from, to int, data []byte) []byte {
	return cat(u16(from), u16(to), u16(8+len(data)), u16(0), data)
}

func ipv6(src, dst string, next int, data []byte) []byte {
	return cat([]byte{0x60, 0, 0, 0}, u16(len(data)), []byte{byte(next), 255}, addr(src), addr(dst), data)
}

// nd is a message of neighbour discovery with a target.
func nd(kind int, target string) []byte {
	return cat([]byte{byte(kind), 0, 0, 0, 0xe0, 0, 0, 0}, addr(target))
}

// ra is a router advertisement with a prefix.
func ra() []byte {
	return cat([]byte{134, 0, 0, 0, 64, 0, 7, 8}, make([]byte, 8),
		[]byte{3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, addr("2001:db8:bad::"))
}

// mark tells the frames of a case; what is behind a packet's end is not its own.
func mark(name string) []byte { return []byte("<<" + name + ">>") }

// marked returns the mark of a frame. Headers may have the bytes of its beginning, too, as
// in the kernel's identification of an IPv4 packet, so that what counts is the last one.
func marked(frame []byte) (name string, ok bool) {
	before, _, ends := strings.Cut(string(frame[max(0, bytes.LastIndex(frame, []byte("<<"))):]), ">>")
	name, begins := strings.CutPrefix(before, "<<")
	return name, begins && ends
}

// sender sends frames out of a namespace's link, all on one CPU, so that they arrive in order.
type sender struct {
	t     testing.TB
	ns    *testlab.Netns
	index int
}

func newSender(t testing.TB, ns *testlab.Netns, link string) sender {
	s := sender{t: t, ns: ns}
	must(t, inside(ns, func() error {
		l, err := net.InterfaceByName(link)
		if err == nil {
			s.index = l.Index
		}
		return err
	}))
	return s
}

// inside runs fn in the namespace, nil for the host's.
func inside(ns *testlab.Netns, fn func() error) error {
	if ns != nil {
		return ns.Do(fn)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return fn()
}

// onOneCPU is inside on the first CPU that there is.
func onOneCPU(ns *testlab.Netns, fn func() error) error {
	return inside(ns, func() error {
		var before, first unix.CPUSet
		if err := unix.SchedGetaffinity(0, &before); err != nil {
			return err
		}
		for cpu := range runtime.NumCPU() * 64 {
			if before.IsSet(cpu) {
				first.Set(cpu)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &first); err != nil {
			return err
		}
		defer unix.SchedSetaffinity(0, &before)
		return fn()
	})
}

// send says of the frames to the kernel that they are of a protocol, 0: what they are.
func (s sender) send(protocol uint16, frames ...[]byte) {
	s.t.Helper()
	must(s.t, onOneCPU(s.ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range frames {
			to := &unix.SockaddrLinklayer{Ifindex: s.index, Protocol: protocol<<8 | protocol>>8, Halen: 6}
			copy(to.Addr[:], f[:6])
			if err := unix.Sendto(fd, f, 0, to); err != nil && err != unix.ENOBUFS && err != unix.ENETDOWN {
				return fmt.Errorf("sendto: %w", err)
			}
		}
		return nil
	}))
}

// tap counts the marked frames that reach a link.
type tap struct {
	t  testing.TB
	fd int
}

func newTap(t testing.TB, ns *testlab.Netns, link string) *tap {
	t.Helper()
	p := &tap{t: t, fd: -1}
	must(t, ns.Do(func() (err error) {
		l, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
			return err
		}
		return unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL << 8, Ifindex: l.Index})
	}))
	t.Cleanup(func() { unix.Close(p.fd) })
	return p
}

// until counts by mark, up to the frame with one.
func (p *tap) until(last string) map[string]int {
	p.t.Helper()
	counts := map[string]int{}
	p.each(last, func(name string, _ []byte) { counts[name]++ })
	return counts
}

// each calls fn for each marked frame, up to the one that is marked as the last.
func (p *tap) each(last string, fn func(name string, frame []byte)) {
	p.t.Helper()
	buffer := make([]byte, 70000)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		n, from, err := unix.Recvfrom(p.fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			p.t.Fatalf("the frame %q does not arrive: %v", last, err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		switch name, ok := marked(buffer[:n]); {
		case !ok:
		case name == last:
			return
		default:
			fn(name, buffer[:n])
		}
	}
	p.t.Fatalf("the frame %q does not arrive", last)
}
