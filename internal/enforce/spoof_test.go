package enforce_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/enforce"
	"github.com/net-porter/net-porter/internal/testlab"
)

// The container, another one of somebody else's, and whom there is besides.
var (
	own       = mac("02:00:00:00:00:0a")
	ownLocal  = "fe80::ff:fe00:a"
	other     = mac("02:00:00:00:00:0b")
	stranger  = mac("02:00:00:00:00:99")
	broadcast = mac("ff:ff:ff:ff:ff:ff")
	allNodes  = mac("33:33:00:00:00:01")
)

const (
	own4, other4, host4, lan4  = "192.0.2.50", "192.0.2.51", "192.0.2.2", "192.0.2.1"
	own6, other6, host6        = "2001:db8::50", "2001:db8::51", "2001:db8::2"
	ownSLAAC, strangeSLAAC     = "2001:db8:1::ff:fe00:a", "2001:db8:1::ff:fe00:99"
	otherLocal, strangersLocal = "fe80::ff:fe00:b", "fe80::1"
)

type frame struct {
	name     string
	protocol uint16 // that the kernel is told
	data     []byte
}

// spoofed are frames that must not reach the LAN from the container.
func spoofed(host, lan net.HardwareAddr) []frame {
	var all []frame
	add := func(name string, data []byte) { all = append(all, frame{name, 0, cat(data, mark(name))}) }
	u := udp(4000, 4000, []byte("x"))
	dhcpOffer := udp(67, 68, make([]byte, 300))
	for who, m := range map[string]net.HardwareAddr{"stranger": stranger, "other": other, "host": host, "broadcast": broadcast, "zero": make(net.HardwareAddr, 6)} {
		for which, ip := range map[string]string{"own": own4, "other": other4, "host": host4, "none": "0.0.0.0", "loopback": "127.0.0.1"} {
			if who == "other" && which == "other" {
				continue // told apart by nothing on the parent: see the package's doc
			}
			add("ipv4 of MAC "+who+" and address "+which, ether(m, lan, 0x800, ipv4(ip, lan4, 17, 0, nil, u)))
		}
		add("ipv6 of MAC "+who, ether(m, lan, 0x86dd, ipv6(own6, "2001:db8::1", 17, u)))
		add("arp of MAC "+who, ether(m, broadcast, 0x806, arp(1, own, own4, lan4)))
		add("arp that tells of MAC "+who, ether(own, broadcast, 0x806, arp(2, m, own4, lan4)))
	}
	for which, ip := range map[string]string{"other": other4, "host": host4, "lan": lan4, "any": "203.0.113.9", "broadcast": "255.255.255.255"} {
		add("own MAC, ipv4 of "+which, ether(own, lan, 0x800, ipv4(ip, lan4, 17, 0, nil, u)))
		add("own MAC, ipv4 options, of "+which, ether(own, lan, 0x800, ipv4(ip, lan4, 17, 0, []byte{1, 1, 1, 0}, u)))
		add("own MAC, first fragment of "+which, ether(own, lan, 0x800, ipv4(ip, lan4, 17, 0x2000, nil, u)))
		add("own MAC, later fragment of "+which, ether(own, lan, 0x800, ipv4(ip, lan4, 17, 5, nil, u)))
		add("arp request for "+which, ether(own, broadcast, 0x806, arp(1, own, ip, lan4)))
		add("arp reply for "+which, ether(own, lan, 0x806, arp(2, own, ip, lan4)))
		add("gratuitous arp for "+which, ether(own, broadcast, 0x806, arp(1, own, ip, ip)))
	}
	for which, ip := range map[string]string{"other": other6, "host": host6, "nobody": "2001:db8:5::5", "router": strangersLocal,
		"other's local": otherLocal, "SLAAC of another": strangeSLAAC, "multicast": "ff02::1", "loopback": "::1", "mapped": "::ffff:192.0.2.50", "own id, not global": "100::ff:fe00:a"} {
		add("own MAC, ipv6 of "+which, ether(own, lan, 0x86dd, ipv6(ip, "2001:db8::1", 17, u)))
		add("neighbour advertisement for "+which, ether(own, allNodes, 0x86dd, ipv6(own6, "ff02::1", 58, nd(136, ip))))
		add("neighbour solicitation from "+which, ether(own, allNodes, 0x86dd, ipv6(ip, "ff02::1", 58, nd(135, "2001:db8::1"))))
		add("duplicate address detection for "+which, ether(own, allNodes, 0x86dd, ipv6("::", "ff02::1", 58, nd(135, ip))))
	}
	hop := func(next int) []byte { return []byte{byte(next), 0, 1, 4, 0, 0, 0, 0} }
	alert := []byte{58, 0, 5, 2, 0, 0, 1, 0}
	first := func(next int) []byte { return []byte{byte(next), 0, 0, 1, 0, 0, 0, 7} }
	for _, src := range []string{ownLocal, own6, "::"} {
		from := " from " + src
		v6 := func(next int, data ...[]byte) []byte {
			return ether(own, allNodes, 0x86dd, ipv6(src, "ff02::1", next, cat(data...)))
		}
		add("router advertisement"+from, v6(58, ra()))
		add("redirect"+from, v6(58, cat(nd(137, "2001:db8::1"), addr("2001:db8::9"))))
		add("hop by hop, router advertisement"+from, v6(0, hop(58), ra()))
		add("router alert, router advertisement"+from, v6(0, alert, ra()))
		add("destination options, router advertisement"+from, v6(60, hop(58), ra()))
		add("two headers, router advertisement"+from, v6(0, hop(60), hop(58), ra()))
		add("routing header"+from, v6(43, []byte{58, 0, 0, 0, 0, 0, 0, 0}, ra()))
		add("fragment, router advertisement"+from, v6(44, first(58), ra()))
		add("atomic fragment, router advertisement"+from, v6(44, []byte{58, 0, 0, 0, 0, 0, 0, 7}, ra()))
		add("fragment, destination options, router advertisement"+from, v6(44, first(60), hop(58), ra()))
		add("fragment, neighbour advertisement"+from, v6(44, first(58), nd(136, other6)))
		add("hop by hop, neighbour advertisement"+from, v6(0, hop(58), nd(136, other6)))
		add("mld query"+from, v6(0, alert, []byte{130, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 16)))
		add("dhcpv6 server"+from, v6(17, udp(547, 546, make([]byte, 40))))
		add("fragment, dhcpv6 server"+from, v6(44, first(17), udp(547, 546, make([]byte, 40))))
	}
	add("dhcp server", ether(own, broadcast, 0x800, ipv4(own4, "255.255.255.255", 17, 0, nil, dhcpOffer)))
	add("dhcp server, fragment", ether(own, broadcast, 0x800, ipv4(own4, "255.255.255.255", 17, 0x2000, nil, dhcpOffer)))
	add("dhcp server, options", ether(own, broadcast, 0x800, ipv4(own4, "255.255.255.255", 17, 0, []byte{1, 1, 1, 0}, dhcpOffer)))
	add("dhcp server without an address", ether(own, broadcast, 0x800, ipv4("0.0.0.0", "255.255.255.255", 17, 0, nil, dhcpOffer)))
	add("dhcp client to one server without an address", ether(own, lan, 0x800, ipv4("0.0.0.0", lan4, 17, 0, nil, udp(68, 67, make([]byte, 300)))))
	add("anything without an address", ether(own, broadcast, 0x800, ipv4("0.0.0.0", "255.255.255.255", 17, 0, nil, u)))
	add("igmp query", ether(own, broadcast, 0x800, ipv4(own4, "224.0.0.1", 2, 0, []byte{0x94, 4, 0, 0}, []byte{0x11, 0, 0, 0, 0, 0, 0, 0})))
	add("icmp redirect", ether(own, lan, 0x800, ipv4(own4, lan4, 1, 0, nil, []byte{5, 1, 0, 0, 192, 0, 2, 9})))
	add("arp probe of a stranger", ether(own, broadcast, 0x806, arp(1, stranger, "0.0.0.0", lan4)))
	add("arp reply without an address", ether(own, broadcast, 0x806, arp(2, own, "0.0.0.0", lan4)))
	add("arp of another hardware", ether(own, broadcast, 0x806, cat([]byte{0, 6}, arp(1, own, own4, lan4)[2:])))
	inner := cat(u16(0x800), ipv4(own4, lan4, 17, 0, nil, u))
	add("vlan", ether(own, lan, 0x8100, cat(u16(5), inner)))
	add("priority tag", ether(own, lan, 0x8100, cat(u16(0), inner)))
	add("service tag", ether(own, lan, 0x88a8, cat(u16(5), u16(0x8100), u16(5), inner)))
	add("old service tag", ether(own, lan, 0x9100, cat(u16(5), inner)))
	add("llc", ether(own, mac("01:80:c2:00:00:00"), 60, make([]byte, 60)))
	add("lldp", ether(own, mac("01:80:c2:00:00:0e"), 0x88cc, make([]byte, 40)))
	add("pppoe", ether(own, broadcast, 0x8863, make([]byte, 40)))
	// What the kernel is told and what is on the wire are two things.
	for _, lie := range []uint16{0x800, 0x86dd, 0x806, 0x9999} {
		all = append(all,
			frame{fmt.Sprintf("lie %x, ipv4", lie), lie, ether(own, lan, 0x800, cat(ipv4(other4, lan4, 17, 0, nil, u), mark(fmt.Sprintf("lie %x, ipv4", lie))))},
			frame{fmt.Sprintf("lie %x, arp", lie), lie, ether(own, broadcast, 0x806, cat(arp(2, own, other4, lan4), mark(fmt.Sprintf("lie %x, arp", lie))))},
			frame{fmt.Sprintf("lie %x, advertisement", lie), lie, ether(own, allNodes, 0x86dd, cat(ipv6(ownLocal, "ff02::1", 58, ra()), mark(fmt.Sprintf("lie %x, advertisement", lie))))})
	}
	return all
}

// honest are frames that must reach the LAN.
func honest(lan net.HardwareAddr) []frame {
	var all []frame
	add := func(name string, data []byte) { all = append(all, frame{name, 0, cat(data, mark(name))}) }
	u := udp(4000, 4000, []byte("x"))
	add("udp", ether(own, lan, 0x800, ipv4(own4, lan4, 17, 0, nil, u)))
	add("first fragment", ether(own, lan, 0x800, ipv4(own4, lan4, 17, 0x2000, nil, u)))
	add("later fragment", ether(own, lan, 0x800, ipv4(own4, lan4, 17, 5, nil, u)))
	add("tcp with options", ether(own, lan, 0x800, ipv4(own4, lan4, 6, 0, []byte{1, 1, 1, 0}, make([]byte, 20))))
	add("ping", ether(own, lan, 0x800, ipv4(own4, lan4, 1, 0, nil, []byte{8, 0, 0, 0, 0, 0, 0, 0})))
	add("esp", ether(own, lan, 0x800, ipv4(own4, lan4, 50, 0, nil, make([]byte, 20))))
	add("igmp report", ether(own, broadcast, 0x800, ipv4(own4, "224.0.0.22", 2, 0, []byte{0x94, 4, 0, 0}, []byte{0x22, 0, 0, 0, 0, 0, 0, 0})))
	add("igmp report without an address", ether(own, broadcast, 0x800, ipv4("0.0.0.0", "224.0.0.22", 2, 0, []byte{0x94, 4, 0, 0}, []byte{0x22, 0, 0, 0, 0, 0, 0, 0})))
	add("dhcp client", ether(own, broadcast, 0x800, ipv4("0.0.0.0", "255.255.255.255", 17, 0, nil, udp(68, 67, make([]byte, 300)))))
	add("dhcp renewal", ether(own, lan, 0x800, ipv4(own4, lan4, 17, 0, nil, udp(68, 67, make([]byte, 300)))))
	add("arp request", ether(own, broadcast, 0x806, arp(1, own, own4, lan4)))
	add("arp reply", ether(own, lan, 0x806, arp(2, own, own4, lan4)))
	add("gratuitous arp", ether(own, broadcast, 0x806, arp(1, own, own4, own4)))
	add("arp probe", ether(own, broadcast, 0x806, arp(1, own, "0.0.0.0", "192.0.2.77")))
	for _, src := range []string{own6, ownLocal, ownSLAAC} {
		v6 := func(dst net.HardwareAddr, next int, data ...[]byte) []byte {
			return ether(own, dst, 0x86dd, ipv6(src, "ff02::1", next, cat(data...)))
		}
		add("udp from "+src, v6(lan, 17, u))
		add("tcp from "+src, v6(lan, 6, make([]byte, 20)))
		add("echo from "+src, v6(lan, 58, []byte{128, 0, 0, 0, 0, 0, 0, 0}))
		add("fragmented echo from "+src, v6(lan, 44, []byte{58, 0, 0, 1, 0, 0, 0, 7}, []byte{128, 0, 0, 0, 0, 0, 0, 0}))
		add("later fragment from "+src, v6(lan, 44, []byte{58, 0, 0, 9, 0, 0, 0, 7}, make([]byte, 8)))
		add("solicitation from "+src, v6(allNodes, 58, nd(135, "2001:db8::1")))
		add("advertisement of "+src, v6(allNodes, 58, nd(136, src)))
		add("detection of "+src, ether(own, allNodes, 0x86dd, ipv6("::", "ff02::1", 58, nd(135, src))))
		add("listener report from "+src, v6(allNodes, 0, []byte{58, 0, 5, 2, 0, 0, 1, 0}, []byte{143, 0, 0, 0, 0, 0, 0, 0}))
	}
	add("router solicitation without an address", ether(own, allNodes, 0x86dd, ipv6("::", "ff02::2", 58, []byte{133, 0, 0, 0, 0, 0, 0, 0})))
	add("dhcpv6 client", ether(own, allNodes, 0x86dd, ipv6(ownLocal, "ff02::1:2", 17, udp(546, 547, make([]byte, 40)))))
	return all
}

// scene is a LAN, a host with addresses of its own on the parent, and a container.
type scene struct {
	t         *testing.T
	lan       *testlab.LAN
	container *testlab.Netns
	host      net.HardwareAddr
	lanMAC    net.HardwareAddr
	tap       *tap
	sender    sender
}

var held = []enforce.Held{
	{ID: "own", Parent: "infra", MAC: own, Addrs: ips(own4, own6), SLAAC: true},
	{ID: "other", Parent: "infra", MAC: other, Addrs: ips(other4, other6)},
}

func newScene(t *testing.T, mode string) *scene {
	s := &scene{t: t, lan: testlab.NewLAN(t, testlab.WithoutServer())}
	command(t, "ip", "addr", "add", host4+"/24", "dev", "infra")
	command(t, "ip", "addr", "add", host6+"/64", "dev", "infra", "nodad")
	in(t, s.lan.Netns, "ip", "addr", "add", "2001:db8::1/64", "dev", "lan0", "nodad")
	s.host = linkMAC(t, nil, "infra")
	s.lanMAC = linkMAC(t, s.lan.Netns, "lan0")
	s.container = newContainer(t, own, mode, own4, own6)
	s.tap, s.sender = newTap(t, s.lan.Netns, "lan0"), newSender(t, s.container, "eth0")
	return s
}

// newContainer is a namespace with a macvlan, as an attach leaves it.
func newContainer(t testing.TB, m net.HardwareAddr, mode string, addrs ...string) *testlab.Netns {
	t.Helper()
	ns := testlab.NewNetns(t)
	command(t, "ip", "link", "add", "link", "infra", "name", "eth0", "address", m.String(), "netns", ns.Path(), "type", "macvlan", "mode", mode)
	for _, a := range addrs {
		if strings.Contains(a, ":") {
			in(t, ns, "ip", "addr", "add", a+"/64", "dev", "eth0", "nodad")
		} else {
			in(t, ns, "ip", "addr", "add", a+"/24", "dev", "eth0")
		}
	}
	in(t, ns, "ip", "link", "set", "eth0", "up")
	return ns
}

func linkMAC(t testing.TB, ns *testlab.Netns, name string) (m net.HardwareAddr) {
	t.Helper()
	must(t, inside(ns, func() error {
		l, err := net.InterfaceByName(name)
		if err == nil {
			m = l.HardwareAddr
		}
		return err
	}))
	return m
}

// arrived sends each frame so often, and counts what the LAN sees of them.
func (s *scene) arrived(frames []frame, times int) map[string]int {
	s.t.Helper()
	for _, f := range frames {
		repeated := make([][]byte, times)
		for i := range repeated {
			repeated[i] = f.data
		}
		s.sender.send(f.protocol, repeated...)
	}
	s.sender.send(0, ether(own, s.lanMAC, 0x800, cat(ipv4(own4, lan4, 17, 0, nil, udp(4000, 4000, nil)), mark("end"))))
	return s.tap.until("end")
}

// What the root of a container may do to a LAN, and with enforcement may not.
func TestSpoofedFramesDoNotReachTheLAN(t *testing.T) {
	for _, mode := range []string{"private", "bridge"} {
		t.Run(mode, func(t *testing.T) {
			s := newScene(t, mode)
			e := newEnforcer(t)
			frames := spoofed(s.host, s.lanMAC)
			times := 1000/len(frames) + 1

			before := s.arrived(frames, times)
			for _, f := range frames {
				if before[f.name] != times {
					t.Errorf("without enforcement %d of %d frames arrive, so this measures nothing: %s", before[f.name], times, f.name)
				}
			}
			must(t, e.Reconcile([]string{"infra"}, held))
			after := s.arrived(frames, times)
			for name, n := range after {
				t.Errorf("%d of %d frames reach the LAN: %s", n, times, name)
			}
			t.Logf("%d kinds of frames, %d frames: %d arrive without enforcement, %d with it", len(frames), len(frames)*times, sum(before), sum(after))
		})
	}
}

func sum(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

func TestHonestFramesReachTheLAN(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, held))
	const times = 5
	frames := honest(s.lanMAC)
	got := s.arrived(frames, times)
	for _, f := range frames {
		if got[f.name] != times {
			t.Errorf("%d of %d frames reach the LAN: %s", got[f.name], times, f.name)
		}
	}
}
