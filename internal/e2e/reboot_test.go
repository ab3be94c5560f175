package e2e

import (
	"slices"
	"testing"
)

// The host loses power and comes back: containers start again and are the same machines
// to the LAN, and what belonged to the others is released without anybody's asking.
func TestReboot(t *testing.T) {
	requireLab(t)
	name := nameOf(t)
	var started, gone []*container
	before := map[*container]endpoint{}
	for _, c := range []struct {
		user, suffix, network string
		bounds                [2]byte
		list                  *[]*container
	}{
		{"alice", "-dhcp", dhcpNet, dhcpRange, &started},
		{"alice", "-fixed", staticNet, fixedRange, &started},
		{"bob", "-dhcp", dhcpNet, dhcpRange, &started},
		{"alice", "-dhcp-gone", dhcpNet, dhcpRange, &gone},
		{"alice", "-fixed-gone", staticNet, fixedRange, &gone},
	} {
		made := startNamed(t, c.user, name+c.suffix, "--network", c.network)
		before[made] = made.works(t, c.network, "eth0", first, c.bounds)
		*c.list = append(*c.list, made)
	}
	agree(t)
	boot := must(t, "root", "cat", "/proc/sys/kernel/random/boot_id")
	reboot(t)
	if again := must(t, "root", "cat", "/proc/sys/kernel/random/boot_id"); again == boot {
		t.Fatal("the boot id is the same: this test shows nothing")
	}
	nothingLeft(t)

	for _, c := range started {
		c.podman(t, "start")
		network, bounds := dhcpNet, dhcpRange
		if before[c].addr.As4()[3] >= fixedRange[0] {
			network, bounds = staticNet, fixedRange
		}
		after := c.works(t, network, "eth0", first, bounds)
		// An address of host-local's need not be the same one.
		if after.mac != before[c].mac || network == dhcpNet && after != before[c] {
			t.Errorf("%s has %v, before the reboot it had %v", c.name, after, before[c])
		}
		first.aloneOn(t, after)
	}
	for _, a := range attachments(t, "root") {
		if slices.ContainsFunc(gone, func(c *container) bool { return c.id == a.ContainerID }) {
			t.Errorf("attached is a container that was not started: %+v", a)
		}
	}
	for _, c := range gone {
		c.podman(t, "start")
	}
	agree(t)
	for _, c := range slices.Concat(started, gone) {
		c.podman(t, "rm", "-f", "-t", "0")
	}
	nothingLeft(t)
}

// reboot cuts the lab's power and boots it again.
func reboot(t *testing.T) {
	t.Helper()
	stopFollowing()
	if err := script("reboot"); err != nil {
		t.Fatalf("the lab does not come back: %v", err)
	}
	if err := startFollowing(); err != nil {
		t.Fatal(err)
	}
}
