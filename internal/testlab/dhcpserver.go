package testlab

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// DHCPServer is a real DHCP server on a LAN. Methods fail the test when the server
// does not do as it should.
type DHCPServer interface {
	// Start starts the server, also after Stop; its leases are kept. When it returns,
	// the server answers.
	Start()
	// Stop ends the server; nothing happens if it is not running.
	Stop()
	// Configure replaces what the test configured, from the next Start on.
	Configure(conf ...string)
	// Forget removes all leases of a server that is not running.
	Forget()
	// Addr is the server's address, which is its server identifier too (RFC 2132
	// section 9.7).
	Addr() netip.Addr
	// Log is what the server has logged so far, over all its starts. Messages have the
	// names of RFC 2132 section 9.6 with "DHCP" before: DHCPREQUEST, DHCPNAK.
	Log() string
	// WaitLog returns when the log has the text in it.
	WaitLog(text string)
	// WaitMessage returns when the log tells at least so many times of a message, e.g.
	// DHCPACK, about an address.
	WaitMessage(message string, addr netip.Addr, times int)
	// HasLease reports whether the server holds addr to be leased to somebody now.
	HasLease(addr netip.Addr) bool
	// WaitFree returns when HasLease is false: after a release, or at the lease's end.
	WaitFree(addr netip.Addr)
	// Leases is the server's lease file.
	Leases() string
	// WaitLeases returns when the lease file is so. Servers write it after they have logged
	// and answered.
	WaitLeases(otherwise string, isSo func(leases string) bool)
	// Do runs fn in the server's network namespace, where its interface is "lan0".
	Do(fn func() error) error
}

// ServerKind is a program that is a DHCP server. All kinds lease 192.0.2.100 to
// 192.0.2.200 for an hour, name themselves as router and DNS server, and do not
// probe addresses before they offer them, unless their configuration says otherwise.
type ServerKind string

const (
	// Dnsmasq's configuration is arguments. Its shortest lease is two minutes. A
	// "--dhcp-range" replaces the LAN's. It refuses (DHCPNAK) to renew what is not in its
	// range, or another's, and grants what is free though it does not know it.
	Dnsmasq ServerKind = "dnsmasq"
	// ISCDhcpd's configuration is statements of its subnet (dhcpd.conf(5)). A
	// "range" replaces the LAN's. It refuses to renew what is another's, and addresses
	// of other networks, does not answer about others out of its range, and grants
	// what is free as dnsmasq does.
	ISCDhcpd ServerKind = "dhcpd"
	// Udhcpd's configuration is lines of udhcpd.conf. It does not answer renewals that
	// it does not grant, and refuses only clients that select or reboot (RFC 2131
	// section 4.3.2). It counts an offer as a lease, for five seconds.
	Udhcpd ServerKind = "udhcpd"
)

// ServerKinds are all kinds, for tests of what must work with any server.
var ServerKinds = []ServerKind{Dnsmasq, ISCDhcpd, Udhcpd}

// Terms are what a test may want of any kind of server.
type Terms struct {
	// Lease is how long leases last, in whole seconds; 0 is an hour. Dnsmasq's last at
	// least two minutes.
	Lease time.Duration
	// T1 and T2 are when to renew and to rebind (RFC 2131 section 4.4.5), in whole
	// seconds. They are sent whether the client asks for them or not. 0: server and
	// client choose. Dnsmasq leaves out those of less than three seconds.
	T1, T2 time.Duration
	// First and Last are the range of addresses; "" is the LAN's.
	First, Last string
}

// Conf is a configuration of this kind with the terms.
func (k ServerKind) Conf(terms Terms) []string {
	if terms.Lease == 0 {
		terms.Lease = time.Hour
	}
	terms.First, terms.Last = cmp.Or(terms.First, lanFirst), cmp.Or(terms.Last, lanLast)
	return programs[k].conf(terms)
}

func seconds(d time.Duration) int { return int(d / time.Second) }

// dhcpProgram is what differs between the kinds.
type dhcpProgram interface {
	// conf is the configuration of ServerKind.Conf.
	conf(terms Terms) []string
	// command writes what the server needs and returns how to run it in the foreground.
	command(s *dhcpServer) (*exec.Cmd, error)
	// ready returns when the server, which wrote its log after from, answers.
	ready(s *dhcpServer, from int) error
	// leases is the whole lease file, in text.
	leases(s *dhcpServer) (string, error)
	// holds finds a lease in what leases returned.
	holds(leases string, addr netip.Addr, now time.Time) bool
}

var programs = map[ServerKind]dhcpProgram{Dnsmasq: dnsmasq{}, ISCDhcpd: iscDhcpd{}, Udhcpd: &udhcpd{}}

// dhcpServer is a DHCPServer with a namespace, and a folder for its files.
type dhcpServer struct {
	t       testing.TB
	kind    ServerKind
	program dhcpProgram
	netns   *Netns
	addr    netip.Addr
	conf    []string
	dir     string
	log     *logBuffer
	child   *child
}

// newDHCPServer gives the interface in the namespace its address.
func newDHCPServer(t testing.TB, kind ServerKind, ns *Netns, addr netip.Addr, conf []string) *dhcpServer {
	t.Helper()
	program, ok := programs[kind]
	if !ok {
		t.Fatalf("testlab: there is no kind of DHCP server %q", kind)
	}
	must(t, ns.Do(func() error {
		if err := run("ip", "addr", "add", addr.String()+"/24", "dev", lanPort); err != nil {
			return err
		}
		return run("ip", "link", "set", lanPort, "up")
	}))
	s := &dhcpServer{
		t: t, kind: kind, program: program, netns: ns, addr: addr, conf: conf, dir: t.TempDir(), log: newLogBuffer(),
	}
	// Servers wait for their disk at each lease (fsync(2)), and who asks waits for them.
	must(t, unix.Mount("tmpfs", s.dir, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(s.dir, unix.MNT_DETACH) })
	t.Cleanup(s.Stop)
	return s
}

func (s *dhcpServer) Start() {
	s.t.Helper()
	if s.child != nil {
		s.t.Fatalf("testlab: %s is running already", s.kind)
	}
	cmd, err := s.program.command(s)
	must(s.t, err)
	from := s.log.size()
	s.child, err = startChild(s.netns, cmd, s.log)
	must(s.t, err)
	if err := s.program.ready(s, from); err != nil {
		s.t.Fatalf("testlab: %s does not start: %v; its log:\n%s", s.kind, err, s.log.tail())
	}
}

func (s *dhcpServer) Stop() {
	if s.child == nil {
		return
	}
	// SIGTERM, as udhcpd keeps its leases in memory until then. What it ends with is
	// of no interest: dhcpd ends by the signal itself.
	_ = s.child.end(unix.SIGTERM, waitBound)
	s.child = nil
}

func (s *dhcpServer) Configure(conf ...string) { s.conf = conf }

func (s *dhcpServer) Forget() {
	s.t.Helper()
	if s.child != nil {
		s.t.Fatalf("testlab: %s is running, and would not notice", s.kind)
	}
	if err := os.Remove(s.leaseFile()); err != nil && !os.IsNotExist(err) {
		s.t.Fatalf("testlab: %v", err)
	}
}

func (s *dhcpServer) Do(fn func() error) error { return s.netns.Do(fn) }

func (s *dhcpServer) Addr() netip.Addr { return s.addr }

func (s *dhcpServer) Log() string { return s.log.String() }

func (s *dhcpServer) WaitLog(text string) {
	s.t.Helper()
	if !s.log.wait(0, nil, contains(text)) {
		s.t.Fatalf("testlab: %s did not log %q within %s; its log:\n%s", s.kind, text, waitBound, s.log.tail())
	}
}

func (s *dhcpServer) WaitMessage(message string, addr netip.Addr, times int) {
	s.t.Helper()
	if !s.log.wait(0, nil, func(log string) bool { return count(log, message, addr.String()) >= times }) {
		s.t.Fatalf("testlab: %s did not log %d times %s for %s within %s; its log:\n%s", s.kind, times, message, addr, waitBound, s.log.tail())
	}
}

func (s *dhcpServer) Leases() string {
	s.t.Helper()
	leases, err := s.program.leases(s)
	if err != nil {
		s.t.Fatalf("testlab: %s's leases: %v", s.kind, err)
	}
	return leases
}

func (s *dhcpServer) HasLease(addr netip.Addr) bool {
	s.t.Helper()
	return s.program.holds(s.Leases(), addr, time.Now())
}

func (s *dhcpServer) WaitFree(addr netip.Addr) {
	s.t.Helper()
	s.WaitLeases(fmt.Sprintf("still has a lease of %s", addr), func(string) bool { return !s.HasLease(addr) })
}

// WaitLeases asks until it is so: nothing tells of a lease's end, or that the file is written.
func (s *dhcpServer) WaitLeases(otherwise string, isSo func(leases string) bool) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(waitBound); !isSo(s.Leases()); <-tick.C {
		if time.Now().After(end) {
			s.t.Fatalf("testlab: %s %s after %s; its leases:\n%s\nits log:\n%s", s.kind, otherwise, waitBound, s.Leases(), s.log.tail())
		}
	}
}

func (s *dhcpServer) leaseFile() string { return filepath.Join(s.dir, "leases") }

// waitReady is ready for servers that say so themselves.
func (s *dhcpServer) waitReady(from int, text string) error {
	if !s.log.wait(from, s.child.ended, contains(text)) {
		return fmt.Errorf("it does not say %q", text)
	}
	return nil
}

// configures reports whether the test's configuration has a word in it.
func (s *dhcpServer) configures(word string) bool {
	return strings.Contains(strings.Join(s.conf, "\n"), word)
}

// lookProgram finds a program of a Debian package.
func lookProgram(name, debianPackage string) (string, error) {
	for _, candidate := range []string{name, "/usr/sbin/" + name} { // not everybody's PATH has it
		if path, err := exec.LookPath(candidate); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing: apt-get install %s", name, debianPackage)
}
