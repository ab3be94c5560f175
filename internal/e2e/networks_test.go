package e2e

import (
	"slices"
	"strings"
	"testing"
)

// Two networks, one of which gives a default route and the other none.
func TestTwoNetworks(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet+":interface_name=lan0", "--network", dhcp2Net+":interface_name=lan1")
	one := c.works(t, dhcpNet, "lan0", first, dhcpRange)
	two := c.works(t, dhcp2Net, "lan1", second, dhcpRange)
	routes := c.exec(t, "ip", "-4", "route")
	if !strings.Contains(routes, "default via 198.51.100.1 dev lan1") || strings.Count(routes, "default") != 1 {
		t.Errorf("want one default route, that of the second network:\n%s", routes)
	}
	resolv := c.exec(t, "cat", "/etc/resolv.conf")
	for _, l := range []*lan{first, second} {
		if !strings.Contains(resolv, "nameserver "+l.dns) {
			t.Errorf("resolv.conf lacks %s:\n%s", l.dns, resolv)
		}
	}
	since := second.now(t)
	c.remove(t, first, one)
	second.released(t, since, two)
	c.gone(t, second, two)
}

func TestConnectAndDisconnect(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet)
	one := c.works(t, dhcpNet, "eth0", first, dhcpRange)

	must(t, "alice", "podman", "network", "connect", dhcp2Net, c.name)
	two := c.works(t, dhcp2Net, "eth1", second, dhcpRange)
	if again := c.works(t, dhcpNet, "eth0", first, dhcpRange); again != one {
		t.Errorf("the first network's endpoint has become %v, was %v", again, one)
	}

	since := second.now(t)
	must(t, "alice", "podman", "network", "disconnect", dhcp2Net, c.name)
	second.released(t, since, two)
	second.unplugged(t, two.mac)
	if links := c.exec(t, "ls", "/sys/class/net"); strings.Contains(links, "eth1") {
		t.Errorf("eth1 is still there: %s", links)
	}
	if again := c.works(t, dhcpNet, "eth0", first, dhcpRange); again != one {
		t.Errorf("the first network's endpoint has become %v, was %v", again, one)
	}
	c.remove(t, first, one)
}

// A reload replays to us, as if the user had asked for them, the addresses that the
// container had: it keeps them, on a resource that grants none.
func TestNetworkReload(t *testing.T) {
	requireLab(t)
	t.Parallel()
	t.Run("dhcp", func(t *testing.T) {
		c := start(t, "alice", "--network", dhcpNet)
		before := c.works(t, dhcpNet, "eth0", first, dhcpRange)
		for range 2 {
			c.podman(t, "network", "reload")
			if after := c.works(t, dhcpNet, "eth0", first, dhcpRange); after != before {
				t.Errorf("after the reload the container has %v, before it had %v", after, before)
			}
			first.leased(t, before, c.name)
		}
		c.remove(t, first, before)
	})
	t.Run("host-local", func(t *testing.T) {
		c := start(t, "alice", "--network", staticNet)
		before := c.works(t, staticNet, "eth0", first, fixedRange)
		for range 2 {
			c.podman(t, "network", "reload")
			if after := c.works(t, staticNet, "eth0", first, fixedRange); after != before {
				t.Errorf("after the reload the container has %v, before it had %v", after, before)
			}
		}
		c.podman(t, "rm", "-f", "-t", "0")
		c.gone(t, first, before)
	})
}

// The containers of a pod share one interface.
func TestPod(t *testing.T) {
	requireLab(t)
	t.Parallel()
	pod := nameOf(t)
	t.Cleanup(func() { must(t, "alice", "podman", "pod", "rm", "-f", "-i", "-t", "0", pod) })
	// The infra container has the interface; its usual image would be built with catatonit.
	must(t, "alice", "podman", "pod", "create", "--name", pod, "--network", dhcpNet, "--infra-name", pod+"-infra",
		"--infra-image", "localhost/bb", "--infra-command", "sleep infinity")
	one := startNamed(t, "alice", pod+"-one", "--pod", pod)
	two := startNamed(t, "alice", pod+"-two", "--pod", pod)
	infra := &container{user: "alice", name: pod + "-infra"}
	infra.id = must(t, "alice", "podman", "inspect", "-f", "{{.Id}}", infra.name)
	e := infra.works(t, dhcpNet, "eth0", first, dhcpRange)
	for _, c := range []*container{one, two} {
		if inside := c.exec(t, "ip", "-o", "-4", "addr", "show", "dev", "eth0"); !strings.Contains(inside, " "+e.addr.String()+"/24 ") {
			t.Errorf("%s does not have the pod's address %v:\n%s", c.name, e.addr, inside)
		}
	}
	since := first.now(t)
	must(t, "alice", "podman", "pod", "rm", "-f", "-t", "0", pod)
	first.released(t, since, e)
	infra.gone(t, first, e)
}

// Machines on the LAN remember for a minute who had an address before: without an
// announcement (RFC 5227, section 2.3) they would not reach its next owner.
func TestAddressAnnounced(t *testing.T) {
	requireLab(t)
	t.Parallel()
	for _, test := range []struct {
		name, network string
		bounds        [2]byte
	}{
		{"dhcp", dhcpNet, dhcpRange},
		{"host-local", staticNet, fixedRange},
	} {
		t.Run(test.name, func(t *testing.T) {
			wire, err := follow("ip", "netns", "exec", first.neighbour, "tcpdump", "-l", "-n", "-e", "-i", "eth0",
				"arp and arp[14:4] = arp[24:4]") // the sender's address is the target's
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(wire.end)
			wire.await(t, 0, "listening on")
			c := start(t, "alice", "--network", test.network)
			e := c.works(t, test.network, "eth0", first, test.bounds)
			wire.await(t, 0, e.mac+" > ff:ff:ff:ff:ff:ff", e.addr.String())
		})
	}
}

// How else than by the options of the README a network can be described.
func TestNetworkSpellings(t *testing.T) {
	requireLab(t)
	t.Parallel()
	// Longer than the address of a unix socket can be (unix(7)).
	dir := "/run/" + strings.Repeat("long-", 30)
	must(t, "root", "mkdir", "-p", dir)
	must(t, "root", "ln", "-sf", "/run/net-porter.sock", dir+"/net-porter.sock")
	t.Cleanup(func() { must(t, "root", "rm", "-r", dir) })
	for _, test := range []struct {
		name, network string
		args          []string
	}{
		{"labels", "labelled", []string{"--label", "net-porter.resource=macvlan-dhcp", "--label", "net-porter.socket=/run/net-porter.sock"}},
		{"name of the resource", "macvlan-dhcp", nil},
		{"short options", "short", []string{"-o", "resource=macvlan-dhcp", "-o", "socket=/run/net-porter.sock"}},
		{"long socket path", "long", []string{"-o", "resource=macvlan-dhcp", "-o", "socket=" + dir + "/net-porter.sock"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Cleanup(func() { must(t, "alice", "podman", "network", "rm", "-f", test.network) })
			must(t, "alice", slices.Concat([]string{"podman", "network", "create", "-d", "net-porter"}, test.args, []string{test.network})...)
			c := start(t, "alice", "--network", test.network)
			c.remove(t, first, c.works(t, test.network, "eth0", first, dhcpRange))
		})
	}
}

// A published port has no meaning on a LAN interface of the container's own, and does
// no harm.
func TestPublishedPort(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet, "-p", "8080:80")
	c.remove(t, first, c.works(t, dhcpNet, "eth0", first, dhcpRange))
}
