package stress

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// moments are those at which what is known of a lease changes: a DHCP message on the
// wire, or a file that the daemon makes, fills, replaces or removes in its state.
type moments struct {
	events <-chan string
	close  func()
}

// watchMoments begins to look at the LAN, and at folders of the daemon's state.
func (l *lab) watchMoments(folders ...string) *moments {
	l.t.Helper()
	wire, err := l.tap()
	if err != nil {
		l.t.Fatal(err)
	}
	files, err := l.watchFiles(folders)
	if err != nil {
		l.t.Fatal(err)
	}
	events := make(chan string, 1000)
	var reading sync.WaitGroup
	reading.Go(func() { readMessages(wire, events) })
	reading.Go(func() { readChanges(files, events) })
	m := &moments{events: events, close: sync.OnceFunc(func() {
		wire.Close()
		files.Close()
		reading.Wait()
	})}
	l.t.Cleanup(m.close)
	return m
}

// tap is a packet socket (packet(7)) that sees the IP packets of the LAN.
func (l *lab) tap() (tap *os.File, err error) {
	err = l.lan.Do(func() error {
		link, err := net.InterfaceByName("lan0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		tap = os.NewFile(uintptr(fd), "tap")
		// All of them, as only this shows what the LAN's server sends.
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: link.Index})
	})
	return tap, err
}

// networkOrder is htons(3).
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func readMessages(tap *os.File, events chan<- string) {
	for packet := make([]byte, 1<<16); ; {
		n, err := tap.Read(packet)
		if err != nil {
			return // closed
		}
		const headers = 20 + 8 // of IPv4, which has no options in DHCP's packets, and UDP
		if n < headers || packet[9] != unix.IPPROTO_UDP {
			continue
		}
		if m, err := dhcpv4.FromBytes(packet[headers:n]); err == nil {
			events <- "the " + m.MessageType().String() + " on the wire"
		}
	}
}

func (l *lab) watchFiles(folders []string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	for _, folder := range folders {
		const changes = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_DELETE
		_, watchErr := unix.InotifyAddWatch(fd, filepath.Join(l.StateDir, folder), changes)
		err = errors.Join(err, watchErr)
	}
	return os.NewFile(uintptr(fd), "inotify"), err
}

func readChanges(watch *os.File, events chan<- string) {
	kinds := map[uint32]string{
		unix.IN_CREATE: "making", unix.IN_CLOSE_WRITE: "filling", unix.IN_MOVED_TO: "replacing", unix.IN_DELETE: "removing",
	}
	for buf := make([]byte, 64<<10); ; {
		n, err := watch.Read(buf)
		if err != nil {
			return // closed
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; { // inotify(7)
			kind, size := binary.NativeEndian.Uint32(rest[4:]), binary.NativeEndian.Uint32(rest[12:])
			end := unix.SizeofInotifyEvent + int(size)
			name := unix.ByteSliceToString(rest[unix.SizeofInotifyEvent:end])
			events <- "the " + kinds[kind] + " of " + strings.TrimRight(name, "0123456789") // but for what is random
			rest = rest[end:]
		}
	}
}

// reply is what a request to a daemon that may be killed comes to.
type reply struct {
	testlab.Response
	err error
}

// killAt kills the daemon at the n-th moment after a request was made, and tells which
// one that was. If the answer comes first, the daemon lives on.
func (l *lab) killAt(n int, m *moments, request func() (testlab.Response, error)) (moment string, killed bool, r reply) {
	l.t.Helper()
	answered := make(chan reply, 1)
	go func() {
		response, err := request()
		answered <- reply{response, err}
	}()
	for range n {
		select {
		case moment = <-m.events:
		case r := <-answered:
			// Both may have come before anybody looked.
			select {
			case moment = <-m.events:
				answered <- r
			default:
				return "", false, r
			}
		}
	}
	l.Kill()
	return moment, true, <-answered
}

// killAtMoment kills the daemon at the n-th moment from now on.
func (l *lab) killAtMoment(n int, m *moments) (moment string) {
	l.t.Helper()
	late := time.After(patience)
	for range n {
		select {
		case moment = <-m.events:
		case <-late:
			l.t.Fatalf("nothing happened within %s", patience)
		}
	}
	l.Kill()
	return moment
}
