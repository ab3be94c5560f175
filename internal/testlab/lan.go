package testlab

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What a LAN is made of unless options say otherwise; the addresses are TEST-NET-1
// (RFC 5737).
const (
	LANParent  = "infra"
	LANServer  = "192.0.2.1"
	LANNetwork = "192.0.2.0/24"
	lanFirst   = "192.0.2.100" // the addresses that servers lease
	lanLast    = "192.0.2.200"
	lanMask    = "255.255.255.0"
	lanPort    = "lan0" // the LAN's end of the veth pair, and every server's interface
	waitBound  = time.Minute
)

// LAN is a veth pair: one end, the parent of macvlans, is in the test's host
// namespace, the other in a namespace of the LAN's own with a real DHCP server.
// Tests that run in parallel may have one each, if the parents have other names.
type LAN struct {
	// ParentName is the interface in the host namespace.
	ParentName string
	// Netns is the LAN's side, where neighbours of the containers live.
	Netns *Netns

	t      testing.TB
	server *dhcpServer
	added  int // servers of AddServer
}

type lanConfig struct {
	parent   string
	noServer bool
	kind     ServerKind
	conf     []string
}

// LANOption changes what NewLAN makes.
type LANOption func(*lanConfig)

// WithParent names the interface in the host namespace.
func WithParent(name string) LANOption { return func(c *lanConfig) { c.parent = name } }

// WithoutServer makes a LAN on which nobody answers DHCP.
func WithoutServer() LANOption { return func(c *lanConfig) { c.noServer = true } }

// WithServer makes the LAN's DHCP server one of a kind, and adds to its
// configuration, which is written as the kind says.
func WithServer(kind ServerKind, conf ...string) LANOption {
	return func(c *lanConfig) { c.kind, c.conf = kind, append(c.conf, conf...) }
}

// WithDnsmasq adds arguments for dnsmasq, such as "--dhcp-option=...". A
// "--dhcp-range" among them replaces the one of the LAN.
func WithDnsmasq(args ...string) LANOption { return WithServer(Dnsmasq, args...) }

// NewLAN makes a LAN that is gone at the end of the test. When it returns, its
// server, dnsmasq unless an option says otherwise, answers.
func NewLAN(t testing.TB, opts ...LANOption) *LAN {
	t.Helper()
	RequireRoot(t)
	conf := lanConfig{parent: LANParent, kind: Dnsmasq}
	for _, opt := range opts {
		opt(&conf)
	}
	l := &LAN{t: t, ParentName: conf.parent, Netns: NewNetns(t)}
	must(t, run("ip", "link", "add", l.ParentName, "type", "veth", "peer", "name", lanPort, "netns", l.Netns.Path()))
	t.Cleanup(func() { _ = run("ip", "link", "del", l.ParentName) })
	must(t, run("ip", "link", "set", l.ParentName, "up"))
	l.server = newDHCPServer(t, conf.kind, l.Netns, netip.MustParseAddr(LANServer), conf.conf)
	if !conf.noServer {
		l.StartServer()
	}
	return l
}

// Server is the LAN's DHCP server, at LANServer. WithoutServer it is not running.
func (l *LAN) Server() DHCPServer { return l.server }

// AddServer makes another DHCP server on the LAN, with a MAC address, an IP address
// (192.0.2.2, then .3 and so on) and leases of its own. It is not running. To a
// client, the server has moved when the first is stopped and another is started.
func (l *LAN) AddServer(kind ServerKind, conf ...string) DHCPServer {
	l.t.Helper()
	addr := netip.MustParseAddr(LANServer)
	l.added++
	for range l.added {
		addr = addr.Next()
	}
	// A neighbour by way of the parent: what is sent to one server is not seen by another.
	return newDHCPServer(l.t, kind, l.NewContainerNS(lanPort), addr, conf)
}

// StartServer starts the LAN's server, also after StopServer; its leases are kept.
func (l *LAN) StartServer() { l.t.Helper(); l.server.Start() }

// StopServer ends the LAN's server; nothing happens if it is not running.
func (l *LAN) StopServer() { l.t.Helper(); l.server.Stop() }

// Do runs fn on the LAN's side.
func (l *LAN) Do(fn func() error) error { return l.Netns.Do(fn) }

// Log is what the LAN's server has logged so far.
func (l *LAN) Log() string { return l.server.Log() }

// Leases is the LAN's server's lease file: of dnsmasq time, MAC, address, host name
// and client id per line.
func (l *LAN) Leases() string { l.t.Helper(); return l.server.Leases() }

// WaitLog returns when the LAN's server has logged text, and fails the test when it
// does not.
func (l *LAN) WaitLog(text string) { l.t.Helper(); l.server.WaitLog(text) }

// NewContainerNS makes a namespace with a macvlan of the LAN's parent in it, in bridge
// mode, down and without an address, as CNI's macvlan plugin leaves it to IPAM.
func (l *LAN) NewContainerNS(ifname string) *Netns {
	l.t.Helper()
	n := NewNetns(l.t)
	must(l.t, run("ip", "link", "add", "link", l.ParentName, "name", ifname, "netns", n.Path(), "type", "macvlan", "mode", "bridge"))
	return n
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
