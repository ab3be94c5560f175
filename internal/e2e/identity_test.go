package e2e

import (
	"net/netip"
	"testing"
)

// `podman rm -f web; podman run --name web`, as each restart of a Quadlet does it: the
// LAN sees one machine. Another user's container of that name is another machine. Of those that
// other tests start at the same time one might be given the address between two containers.
func TestSameNameSameAddress(t *testing.T) {
	requireLab(t)
	name := nameOf(t)
	bobs := startNamed(t, "bob", name, "--network", dhcpNet).works(t, dhcpNet, "eth0", first, dhcpRange)
	var before endpoint
	for i := range 10 {
		c := startNamed(t, "alice", name, "--network", dhcpNet)
		e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
		if i > 0 && e != before {
			t.Errorf("container %d has %v, the one before had %v", i, e, before)
		}
		before = e
		if i%2 == 0 {
			c.remove(t, first, e)
		} else { // without a teardown of its own: podman kills, and its cleanup tears down
			c.podman(t, "kill")
			c.podman(t, "rm", "-f", "-t", "0")
		}
	}
	if before.addr == bobs.addr || before.mac == bobs.mac {
		t.Errorf("alice's container has %v, and bob's has %v", before, bobs)
	}
	t.Logf("alice's container was %v ten times; bob's of the same name is %v", before, bobs)
}

// `podman run --ip` with DHCP, for who has a grant: the server gives the address or the user
// reads why not.
func TestAddressOfTheUsersChoice(t *testing.T) {
	requireLab(t)
	t.Parallel()
	wanted := netip.MustParseAddr("192.0.2.190")
	c := start(t, "alice", "--network", dhcpNet, "--ip", wanted.String())
	e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	if e.addr != wanted {
		t.Errorf("the container has %v, asked for was %v", e.addr, wanted)
	}
	c.podman(t, "restart", "-t", "0")
	c.podman(t, "network", "reload")
	if e := c.works(t, dhcpNet, "eth0", first, dhcpRange); e.addr != wanted {
		t.Errorf("after a restart and a reload the container has %v", e.addr)
	}
	for taken, says := range map[string]string{
		wanted.String(): "held by another attachment", "192.0.2.9": "does not grant", "203.0.113.7": "does not grant", // its own, the neighbour's, no one's here
	} {
		name := nameOf(t) + "-not"
		removeAfter(t, "bob", name)
		refused(t, "bob", runArgs(name, "--network", dhcpNet, "--ip", taken), says, "choose another address")
		must(t, "bob", "podman", "rm", "-f", "-i", name)
	}
	c.remove(t, first, c.endpoint(t, dhcpNet))
}
