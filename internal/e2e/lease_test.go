package e2e

import "testing"

// Leases are renewed while the container runs, under the unit as it is hardened, and go
// on after the daemon was killed and after it was restarted. The second LAN's leases are
// renewed every four seconds.
func TestLeaseIsRenewed(t *testing.T) {
	requireLab(t)
	c := start(t, "alice", "--network", dhcp2Net)
	e := c.works(t, dhcp2Net, "eth0", second, dhcpRange)
	renewed := func() {
		t.Helper()
		since := second.now(t)
		second.log.await(t, since, "DHCPREQUEST", e.addr.String()+" "+e.mac)
		second.log.await(t, since, "DHCPACK", e.addr.String()+" "+e.mac)
	}
	renewed()
	renewed()
	must(t, "root", "systemctl", "kill", "-s", "KILL", "net-porter")
	t.Cleanup(func() { must(t, "root", "systemctl", "reset-failed", "net-porter") })
	must(t, "root", "systemctl", "start", "net-porter")
	renewed()
	must(t, "root", "systemctl", "restart", "net-porter")
	renewed()
	if again := c.works(t, dhcp2Net, "eth0", second, dhcpRange); again != e {
		t.Errorf("the container has %v, before it had %v", again, e)
	}
	since := second.now(t)
	c.podman(t, "rm", "-f", "-t", "0")
	second.released(t, since, e)
	c.gone(t, second, e)
	nothingLeft(t)
}
