package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// kill sends a signal to processes of the lab.
func kill(t testing.TB, signal string, pids ...int) {
	t.Helper()
	args := []string{"kill", "-s", signal}
	for _, pid := range pids {
		args = append(args, fmt.Sprint(pid))
	}
	must(t, "root", args...)
}

// pause is the process that keeps a user's podman namespaces when no container does.
func pause(t testing.TB, user string) int {
	t.Helper()
	var pid int
	if _, err := fmt.Sscan(must(t, user, "sh", "-c", "cat $XDG_RUNTIME_DIR/libpod/tmp/pause.pid"), &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// startAgain is what a user does about a container of which something was killed. Podman
// may believe that it runs; then a start does nothing, and podman has to be told to stop
// it first.
func (c *container) startAgain(t testing.TB) {
	t.Helper()
	c.podman(t, "start")
	if lab(t, c.user, "podman", "exec", c.name, "true").code != 0 {
		c.stopAnyhow(t)
		c.podman(t, "start")
	}
}

// stopAnyhow stops a container whose monitor may be gone: then podman says that it misses
// the exit code, and fails.
func (c *container) stopAnyhow(t testing.TB) {
	t.Helper()
	if r := lab(t, c.user, "podman", "stop", "-t", "0", c.name); r.code != 0 {
		says(t, r, "exit code could not be retrieved")
	}
}

// removeAll removes all of a user's containers, also those whose monitor is gone.
func removeAll(t testing.TB, user string) {
	t.Helper()
	for _, name := range strings.Fields(must(t, user, "podman", "ps", "-a", "--format", "{{.Names}}")) {
		c := &container{user: user, name: name}
		c.stopAnyhow(t)
		c.podman(t, "rm", "-f", "-t", "0")
	}
}

// Whatever of a container's is killed, `podman start` makes it work again, as the same
// machine on the LAN; the user's other containers do not notice; and in the end everyone
// agrees about what there is.
func TestKilledContainer(t *testing.T) {
	requireLab(t)
	for _, test := range []struct {
		name string
		kill func(t *testing.T, d details)
	}{
		{"monitor", func(t *testing.T, d details) { kill(t, "KILL", d.State.ConmonPid) }},
		{"init", func(t *testing.T, d details) { kill(t, "KILL", d.State.Pid) }},
		{"monitor and init", func(t *testing.T, d details) { kill(t, "KILL", d.State.ConmonPid, d.State.Pid) }},
		{"pause", func(t *testing.T, _ details) { kill(t, "KILL", pause(t, "alice")) }},
		{"pause, monitor and init", func(t *testing.T, d details) {
			kill(t, "KILL", pause(t, "alice"), d.State.ConmonPid, d.State.Pid)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := nameOf(t)
			// Not on the same LAN: Linux answers by ARP for both addresses on both interfaces.
			both := []string{"--network", dhcp2Net + ":interface_name=lan0", "--network", staticNet + ":interface_name=lan1"}
			works := func(c *container) (dhcp, fixed endpoint) {
				t.Helper()
				dhcp = c.works(t, dhcp2Net, "lan0", second, dhcpRange)
				second.aloneOn(t, dhcp)
				fixed = c.works(t, staticNet, "lan1", first, fixedRange)
				first.aloneOn(t, fixed)
				return dhcp, fixed
			}
			other := startNamed(t, "alice", name+"-other", both...)
			otherDHCP, otherFixed := works(other)
			c := startNamed(t, "alice", name, both...)
			dhcp, fixed := works(c)
			test.kill(t, c.inspect(t))

			c.startAgain(t)
			// An address of host-local's need not be the same one.
			if d, f := works(c); d != dhcp || f.mac != fixed.mac {
				t.Errorf("the container has %v and %v, before it had %v and %v", d, f, dhcp, fixed)
			}
			agree(t)
			c.stopAnyhow(t)
			c.podman(t, "start")
			works(c)
			if d, f := works(other); d != otherDHCP || f != otherFixed {
				t.Errorf("the other container has %v and %v, before it had %v and %v", d, f, otherDHCP, otherFixed)
			}
			fresh := startNamed(t, "alice", name+"-fresh", both...)
			works(fresh)
			agree(t)
			must(t, "alice", "podman", "rm", "-f", "-t", "0", c.name, other.name, fresh.name)
			nothingLeft(t)
		})
	}
}
