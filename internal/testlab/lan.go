package testlab

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a LAN is made of unless options say otherwise; the addresses are TEST-NET-1
// (RFC 5737).
const (
	LANParent  = "infra"
	LANServer  = "192.0.2.1"
	LANNetwork = "192.0.2.0/24"
	lanRange   = "192.0.2.100,192.0.2.200,255.255.255.0,1h"
	lanPort    = "lan0" // the LAN's end of the veth pair
	waitBound  = 20 * time.Second
)

// LAN is a veth pair: one end, the parent of macvlans, is in the test's host
// namespace, the other in a namespace of the LAN's own with a real dnsmasq.
type LAN struct {
	// ParentName is the interface in the host namespace.
	ParentName string
	// Netns is the LAN's side, where neighbours of the containers live.
	Netns *Netns

	t        testing.TB
	conf     lanConfig
	dir      string
	log      *logBuffer
	dnsmasq  *exec.Cmd
	finished chan struct{}
}

type lanConfig struct {
	parent   string
	noServer bool
	args     []string
}

// LANOption changes what NewLAN makes.
type LANOption func(*lanConfig)

// WithParent names the interface in the host namespace.
func WithParent(name string) LANOption { return func(c *lanConfig) { c.parent = name } }

// WithoutServer makes a LAN on which nobody answers DHCP.
func WithoutServer() LANOption { return func(c *lanConfig) { c.noServer = true } }

// WithDnsmasq adds arguments for dnsmasq, such as "--dhcp-option=...". A
// "--dhcp-range" among them replaces the one of the LAN.
func WithDnsmasq(args ...string) LANOption {
	return func(c *lanConfig) { c.args = append(c.args, args...) }
}

// NewLAN makes a LAN that is gone at the end of the test. When it returns, dnsmasq
// answers.
func NewLAN(t testing.TB, opts ...LANOption) *LAN {
	t.Helper()
	RequireRoot(t)
	l := &LAN{t: t, conf: lanConfig{parent: LANParent}, dir: t.TempDir(), log: newLogBuffer()}
	for _, opt := range opts {
		opt(&l.conf)
	}
	l.ParentName = l.conf.parent
	l.Netns = NewNetns(t)
	must(t, run("ip", "link", "add", l.ParentName, "type", "veth", "peer", "name", lanPort, "netns", l.Netns.Path()))
	t.Cleanup(func() { _ = run("ip", "link", "del", l.ParentName) })
	must(t, run("ip", "link", "set", l.ParentName, "up"))
	must(t, l.Do(func() error {
		if err := run("ip", "addr", "add", LANServer+"/24", "dev", lanPort); err != nil {
			return err
		}
		return run("ip", "link", "set", lanPort, "up")
	}))
	if !l.conf.noServer {
		l.StartServer()
	}
	return l
}

// StartServer starts dnsmasq, also after StopServer; its leases are kept.
func (l *LAN) StartServer() {
	l.t.Helper()
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		l.t.Fatal("testlab: dnsmasq is missing: apt-get install dnsmasq-base")
	}
	args := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
		"--interface=" + lanPort, "--except-interface=lo", "--bind-interfaces",
		"--no-ping", "--dhcp-authoritative", "--log-dhcp", "--log-facility=-",
		"--dhcp-leasefile=" + l.leaseFile(),
	}
	args = append(args, l.conf.args...)
	if !strings.Contains(strings.Join(l.conf.args, " "), "--dhcp-range=") {
		args = append(args, "--dhcp-range="+lanRange)
	}
	r, w, err := os.Pipe()
	must(l.t, err)
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	mark := l.log.size()
	err = l.Do(cmd.Start)
	w.Close()
	must(l.t, err)
	l.dnsmasq, l.finished = cmd, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		l.log.fill(r)
		r.Close()
		_ = cmd.Wait()
	}(l.finished)
	l.t.Cleanup(l.StopServer)
	// dnsmasq says so after its sockets are open.
	l.waitLog("DHCP, sockets bound exclusively to interface "+lanPort, mark)
}

// StopServer ends dnsmasq; nothing happens if it is not running.
func (l *LAN) StopServer() {
	if l.dnsmasq == nil {
		return
	}
	_ = l.dnsmasq.Process.Kill()
	<-l.finished
	l.dnsmasq = nil
}

func (l *LAN) leaseFile() string { return filepath.Join(l.dir, "leases") }

// Do runs fn on the LAN's side.
func (l *LAN) Do(fn func() error) error { return l.Netns.Do(fn) }

// Log is what dnsmasq has logged so far.
func (l *LAN) Log() string { return l.log.String() }

// Leases is dnsmasq's lease file: time, MAC, address, host name and client id per line.
func (l *LAN) Leases() string {
	data, err := os.ReadFile(l.leaseFile())
	if err != nil && !os.IsNotExist(err) {
		l.t.Fatalf("testlab: %v", err)
	}
	return string(data)
}

// WaitLog returns when dnsmasq has logged text, and fails the test when it does not.
func (l *LAN) WaitLog(text string) {
	l.t.Helper()
	l.waitLog(text, 0)
}

func (l *LAN) waitLog(text string, from int) {
	l.t.Helper()
	if !l.log.wait(text, from, waitBound) {
		l.t.Fatalf("testlab: dnsmasq did not log %q within %s; its log:\n%s", text, waitBound, l.Log())
	}
}

// Ping sends ICMP echo requests from the LAN's side until addr answers, and fails the
// test when it does not.
func (l *LAN) Ping(addr netip.Addr) {
	l.t.Helper()
	if err := l.Do(func() error { return ping(addr) }); err != nil {
		l.t.Fatalf("testlab: no reply from %s: %v", addr, err)
	}
}

// NewContainerNS makes a namespace with a macvlan of the LAN's parent in it, in bridge
// mode, down and without an address, as CNI's macvlan plugin leaves it to IPAM.
func (l *LAN) NewContainerNS(ifname string) *Netns {
	l.t.Helper()
	n := NewNetns(l.t)
	must(l.t, run("ip", "link", "add", "link", l.ParentName, "name", ifname, "netns", n.Path(), "type", "macvlan", "mode", "bridge"))
	return n
}

func ping(addr netip.Addr) error {
	conn, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return err
	}
	defer conn.Close()
	request := []byte{8, 0, 0, 0, 0x4e, 0x50, 0, 1} // echo (RFC 792)
	check := ^uint16(8<<8 + 0x4e50 + 1)
	request[2], request[3] = byte(check>>8), byte(check)
	reply := make([]byte, 1500)
	for end := time.Now().Add(waitBound); time.Now().Before(end); {
		if _, err := conn.WriteTo(request, &net.IPAddr{IP: addr.AsSlice()}); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		for {
			n, _, err := conn.ReadFrom(reply)
			if err != nil {
				break // time for another request
			}
			if n >= 8 && reply[0] == 0 && bytes.Equal(reply[4:8], request[4:8]) {
				return nil
			}
		}
	}
	return fmt.Errorf("no reply within %s", waitBound)
}

// logBuffer collects lines and wakes those who wait for one.
type logBuffer struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newLogBuffer() *logBuffer { return &logBuffer{changed: make(chan struct{})} }

func (b *logBuffer) fill(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		b.mu.Lock()
		b.text.WriteString(lines.Text() + "\n")
		close(b.changed)
		b.changed = make(chan struct{})
		b.mu.Unlock()
	}
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) size() int { return len(b.String()) }

func (b *logBuffer) wait(text string, from int, bound time.Duration) bool {
	timeout := time.After(bound)
	for {
		b.mu.Lock()
		found, changed := strings.Contains(b.text.String()[from:], text), b.changed
		b.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-changed:
		case <-timeout:
			return false
		}
	}
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("testlab: %v", err)
	}
}
