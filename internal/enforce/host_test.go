package enforce_test

import (
	"net/netip"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

func output(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

// The host goes on as if nothing were: what its processes and its kernel send of
// themselves, what it routes, and what its own macvlans send.
func TestHostGoesOn(t *testing.T) {
	s := newScene(t, "private")
	command(t, "ip", "link", "add", "shim", "link", "infra", "type", "macvlan", "mode", "private")
	command(t, "ip", "addr", "add", "192.0.2.3/32", "dev", "shim")
	command(t, "ip", "link", "set", "shim", "up")
	t.Cleanup(func() { command(t, "ip", "link", "del", "shim") })
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, held))
	command(t, "ip", "neigh", "flush", "dev", "infra")
	in(t, s.lan.Netns, "ip", "neigh", "flush", "dev", "lan0")

	// ARP, neighbour discovery, ICMP answers.
	s.lan.Ping(netip.MustParseAddr(host4))
	waitPing(t, s.lan.Netns, host6)
	command(t, "busybox", "ping", "-c1", "-W5", lan4)
	command(t, "busybox", "ping", "-c1", "-W5", "2001:db8::1")

	// Sockets with marks and priorities of their own.
	const times = 20
	say(t, nil, host4, lan4, "plain", times)
	say(t, nil, host4, lan4, "marked", times, unix.SO_MARK, 0x1234)
	say(t, nil, host4, lan4, "urgent", times, unix.SO_PRIORITY, 6)
	say(t, nil, host4, lan4, "classified", times, unix.SO_PRIORITY, 0x10002)
	say(t, nil, "192.0.2.3", lan4, "its macvlan", times, unix.SO_BINDTOIFINDEX, indexOf(t, "shim"))
	say(t, nil, host6, "2001:db8::1", "IPv6", times)
	// Raw frames of the host's own programs, such as its DHCP client.
	host := newSender(t, nil, "infra")
	for range times {
		host.send(0, ether(s.host, broadcast, 0x800, cat(ipv4("0.0.0.0", "255.255.255.255", 17, 0, nil, udp(68, 67, nil)), mark("raw"))),
			ether(s.host, mac("01:80:c2:00:00:0e"), 0x88cc, cat(make([]byte, 40), mark("lldp"))))
	}
	// What it routes, with a mark and without.
	inside := testlab.NewNetns(t)
	command(t, "ip", "link", "add", "in0", "type", "veth", "peer", "name", "eth0", "netns", inside.Path())
	t.Cleanup(func() { command(t, "ip", "link", "del", "in0") })
	command(t, "ip", "addr", "add", "10.9.9.1/24", "dev", "in0")
	command(t, "ip", "link", "set", "in0", "up")
	command(t, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	t.Cleanup(func() { command(t, "sysctl", "-qw", "net.ipv4.ip_forward=0") })
	in(t, inside, "ip", "addr", "add", "10.9.9.2/24", "dev", "eth0")
	in(t, inside, "ip", "link", "set", "eth0", "up")
	in(t, inside, "ip", "route", "add", "default", "via", "10.9.9.1")
	waitPing(t, inside, "10.9.9.1") // until then the kernel drops what goes to the fresh link
	say(t, inside, "10.9.9.2", lan4, "routed", times)
	command(t, "nft", "add table ip t; add chain ip t f { type filter hook forward priority 0; }; add rule ip t f meta mark set 7; "+
		"add chain ip t n { type nat hook postrouting priority 100; }; add rule ip t n ip saddr 10.9.9.0/24 masquerade")
	t.Cleanup(func() { command(t, "nft", "delete", "table", "ip", "t") })
	say(t, inside, "10.9.9.2", lan4, "masqueraded", times)
	// Others' chains on the parent may set priorities for their queues.
	command(t, "nft", "add table netdev t; add chain netdev t e { type filter hook egress device infra priority 0; }; add rule netdev t e meta priority set 1:5")
	t.Cleanup(func() { command(t, "nft", "delete", "table", "netdev", "t") })
	say(t, nil, host4, lan4, "with a queue", times)
	say(t, s.container, own4, lan4, "a container's with a queue", times)
	// A reset of the firewall's has no socket.
	command(t, "nft", "add chain ip t i { type filter hook input priority 0; }; add rule ip t i tcp dport 81 reject with tcp reset")
	if out, err := nc(s.lan.Netns, host4, "81"); err == nil || !contains(out, "refused") {
		t.Errorf("a rejected connection: %v: %s", err, out)
	}
	say(t, nil, host4, lan4, "end", 1)
	got := s.tap.until("end")
	for _, name := range []string{"plain", "marked", "urgent", "classified", "its macvlan", "IPv6", "raw", "lldp", "routed", "masqueraded", "with a queue", "a container's with a queue"} {
		if got[name] != times {
			t.Errorf("%d of %d frames of the host's reach the LAN: %s", got[name], times, name)
		}
	}
}

// The host may get other addresses and another MAC at any time.
func TestHostChanges(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, held))
	run(t, e)
	command(t, "ip", "addr", "add", "192.0.2.9/24", "dev", "infra")
	wait(t, "answer from the new address", func() bool { return answers(s.lan.Netns, "192.0.2.9") })
	command(t, "ip", "link", "set", "infra", "address", "02:00:00:00:00:cc")
	in(t, s.lan.Netns, "ip", "neigh", "flush", "dev", "lan0")
	wait(t, "answer from the new MAC", func() bool { return answers(s.lan.Netns, host4) })
	wait(t, "end of the old MAC", func() bool {
		return !contains(command(t, "nft", "list", "set", "netdev", "net_porter", "host_macs"), s.host.String())
	})
}
