package testlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// udhcpd is busybox's server, which home routers run.
type udhcpd struct {
	dumping sync.Mutex
}

func (*udhcpd) conf(terms Terms) []string {
	conf := []string{"start " + terms.First, "end " + terms.Last, fmt.Sprintf("opt lease %d", seconds(terms.Lease))}
	if terms.T1 > 0 {
		conf = append(conf, fmt.Sprintf("opt 0x3a %08x", seconds(terms.T1)))
	}
	if terms.T2 > 0 {
		conf = append(conf, fmt.Sprintf("opt 0x3b %08x", seconds(terms.T2)))
	}
	return conf
}

func (*udhcpd) command(s *dhcpServer) (*exec.Cmd, error) {
	busybox, err := lookProgram("busybox", "busybox-static")
	if err != nil {
		return nil, err
	}
	conf := []string{
		"start " + lanFirst, "end " + lanLast, "interface " + lanPort, "max_leases 101",
		"lease_file " + s.leaseFile(), "pidfile " + filepath.Join(s.dir, "pid"),
		"min_lease 1", "offer_time 5", "auto_time 86400",
	}
	// A second line about an option would add to the first.
	for _, o := range [][2]string{{"subnet", lanMask}, {"router", s.addr.String()}, {"dns", s.addr.String()}, {"lease", "3600"}} {
		if !s.configures(" " + o[0] + " ") {
			conf = append(conf, "opt "+o[0]+" "+o[1])
		}
	}
	file := filepath.Join(s.dir, "udhcpd.conf")
	text := strings.Join(append(conf, s.conf...), "\n") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return exec.Command(busybox, "udhcpd", "-f", "-a", "0", file), nil // -a 0: no ARP probe
}

// ready looks for the socket of port 67 until it is there: what udhcpd says, it says
// before. Then it starts the tap that makes the log say what Debian's udhcpd does
// not: it is built without the messages about requests, releases and refusals.
func (*udhcpd) ready(s *dhcpServer, _ int) error {
	table := fmt.Sprintf("/proc/%d/net/udp", s.child.cmd.Process.Pid)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(waitBound)
	for {
		if sockets, err := os.ReadFile(table); err == nil && strings.Contains(string(sockets), ":0043 ") {
			return tapDHCP(s)
		}
		select {
		case <-tick.C:
		case <-s.child.ended:
			return errors.New("it has ended")
		case <-timeout:
			return errors.New("it does not listen on port 67")
		}
	}
}

// The lease file of busybox (struct dyn_lease of its dhcpd.h), big-endian: the time
// of writing, then for each lease the seconds that are left, the address, the MAC,
// the host name and padding.
const (
	udhcpdHeader = 8
	udhcpdLease  = 36
)

// leases makes lines as dnsmasq's out of the lease file, which a server that runs is
// told to write first. Addresses that were declined are leased to 00:00:00:00:00:00.
func (u *udhcpd) leases(s *dhcpServer) (string, error) {
	u.dumping.Lock()
	defer u.dumping.Unlock()
	if s.child != nil {
		if err := dumpLeases(s); err != nil {
			return "", err
		}
	}
	data, err := os.ReadFile(s.leaseFile())
	if os.IsNotExist(err) || err == nil && len(data) < udhcpdHeader {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var text strings.Builder
	written := int64(binary.BigEndian.Uint64(data))
	for data = data[udhcpdHeader:]; len(data) >= udhcpdLease; data = data[udhcpdLease:] {
		left, addr := int64(binary.BigEndian.Uint32(data)), netip.AddrFrom4([4]byte(data[4:8]))
		host, _, _ := strings.Cut(string(data[14:34]), "\x00")
		fmt.Fprintf(&text, "%d %s %s %s\n", written+left, net.HardwareAddr(data[8:14]), addr, host)
	}
	return text.String(), nil
}

// dumpLeases makes udhcpd write its lease file, and returns when it has.
func dumpLeases(s *dhcpServer) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	defer watch.Close()
	// The folder, as the file may not be there yet; nothing else is written in it.
	if _, err := unix.InotifyAddWatch(fd, s.dir, unix.IN_CLOSE_WRITE); err != nil {
		return err
	}
	if err := s.child.cmd.Process.Signal(unix.SIGUSR1); err != nil {
		return fmt.Errorf("it is not running: %w", err)
	}
	if err := watch.SetReadDeadline(time.Now().Add(waitBound)); err != nil {
		return err
	}
	if _, err := watch.Read(make([]byte, 4096)); err != nil {
		return fmt.Errorf("it does not write them: %w", err)
	}
	return nil
}

func (*udhcpd) holds(leases string, addr netip.Addr, now time.Time) bool {
	for line := range strings.Lines(leases) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != addr.String() {
			continue
		}
		end, err := strconv.ParseInt(fields[0], 10, 64)
		return err == nil && now.Before(time.Unix(end, 0)) && fields[1] != "00:00:00:00:00:00"
	}
	return false
}
