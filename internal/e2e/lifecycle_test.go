package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// The main job: an address from the LAN's DHCP server, the container's name in its
// lease, the LAN's DNS servers, and all of it given back.
func TestRun(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet)
	e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	first.leased(t, e, c.name)

	resolv := c.exec(t, "cat", "/etc/resolv.conf")
	if want := "search " + first.domain + "\nnameserver " + first.dns; resolv != want {
		t.Errorf("resolv.conf is not what the LAN's DHCP server says:\n%s", resolv)
	}
	c.exec(t, "nslookup", "neighbour."+first.domain)
	// The resource asks for the subnet mask and skips the rest.
	if routes := c.exec(t, "ip", "-4", "route"); strings.Contains(routes, "default") {
		t.Errorf("there is a default route, which the resource does not ask for:\n%s", routes)
	}
	c.remove(t, first, e)
}

// What a user types first, and whose end is the teardown.
func TestRunInForeground(t *testing.T) {
	requireLab(t)
	t.Parallel()
	since := first.now(t)
	out := must(t, "alice", "podman", "run", "--rm", "--network", dhcpNet, "localhost/bb", "ip", "addr")
	found := regexp.MustCompile(`(?s)link/ether (\S+) .*? inet (192\.0\.2\.\d+)/24 `).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no address of the LAN:\n%s", out)
	}
	e := endpoint{addr: netip.MustParseAddr(found[2]), mac: found[1]}
	first.inRange(t, e.addr, dhcpRange)
	first.released(t, since, e)
	first.unplugged(t, e.mac)
}

func TestRestart(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet)
	before, namespace := c.works(t, dhcpNet, "eth0", first, dhcpRange), c.inspect(t).NetworkSettings.SandboxKey
	since := first.now(t)
	c.podman(t, "restart", "-t", "0")
	first.log.await(t, since, "DHCPRELEASE", before.addr.String()+" "+before.mac) // and then it is leased again
	after := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	if after != before {
		t.Errorf("after the restart the container has %v, before it had %v", after, before)
	}
	first.leased(t, after, c.name)
	if c.inspect(t).NetworkSettings.SandboxKey == namespace {
		t.Errorf("the namespace is the same: this test shows nothing")
	}
	c.remove(t, first, after)
}

func TestStopStart(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet)
	e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	since := first.now(t)
	c.podman(t, "stop")
	first.released(t, since, e)
	c.gone(t, first, e)

	c.podman(t, "start")
	e = c.works(t, dhcpNet, "eth0", first, dhcpRange)
	since = first.now(t)
	c.podman(t, "stop")
	c.podman(t, "rm")
	first.released(t, since, e)
	c.gone(t, first, e)
}

// A container whose process crashes is torn down by podman's cleanup process, and
// starts again.
func TestCrash(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet)
	e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	since := first.now(t)
	must(t, "root", "kill", "-9", fmt.Sprint(c.inspect(t).State.Pid))
	first.released(t, since, e)
	c.gone(t, first, e)
	c.podman(t, "start")
	c.remove(t, first, c.works(t, dhcpNet, "eth0", first, dhcpRange))
}

// With podman's monitor killed too nobody tears down, and the next start finds what
// the last one left.
func TestCrashOfMonitor(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet)
	before := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	state := c.inspect(t).State
	must(t, "root", "kill", "-9", fmt.Sprint(state.ConmonPid), fmt.Sprint(state.Pid))
	// Podman notices on its first command, and says that it misses the exit code.
	t.Log(lab(t, "alice", "podman", "stop", c.name).stderr)
	c.podman(t, "start")
	after := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	if before.mac != after.mac {
		first.unplugged(t, before.mac)
	}
	c.remove(t, first, after)
}

// --userns=keep-id puts the container's namespace into a user namespace below podman's.
func TestUsernsKeepID(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet, "--userns", "keep-id")
	e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	if uid := c.exec(t, "id", "-u"); uid != "1000" {
		t.Errorf("the user is %s inside, want 1000: this test shows nothing", uid)
	}
	c.remove(t, first, e)
}

// The resource tells the DHCP server the container's name (its fromArg), whatever the
// container calls itself.
func TestHostname(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet, "--hostname", "printer")
	e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	if name := c.exec(t, "hostname"); name != "printer" {
		t.Errorf("the host name is %s inside, want printer", name)
	}
	first.leased(t, e, c.name)
	c.remove(t, first, e)
}
