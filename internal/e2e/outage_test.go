package e2e

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/labhost"
)

// stopService stops units of the lab; the function that it returns starts them again, at
// the latest when the test is over.
func stopService(t *testing.T, units ...string) (again func()) {
	t.Helper()
	must(t, "root", append([]string{"systemctl", "stop"}, units...)...)
	again = func() { must(t, "root", append([]string{"systemctl", "start"}, units...)...) }
	t.Cleanup(again)
	return again
}

// stopDaemon stops the daemon, and its socket, which would start it again.
func stopDaemon(t *testing.T) (again func()) {
	t.Helper()
	return stopService(t, "net-porter.socket", "net-porter.service")
}

// With the daemon down networks can be made, containers cannot be started, and those
// that run can be stopped and removed.
func TestDaemonDown(t *testing.T) {
	requireLab(t)
	stays := startNamed(t, "alice", nameOf(t)+"-stays", "--network", dhcpNet)
	before := stays.works(t, dhcpNet, "eth0", first, dhcpRange)
	again := stopDaemon(t)

	t.Run("create", func(t *testing.T) {
		r := lab(t, "alice", "podman", "network", "create", "-d", "net-porter", "-o", "net_porter_resource=macvlan-dhcp", "early")
		if r.code != 0 {
			t.Error("the network was not created; that the daemon cannot be asked is only a warning")
		}
		says(t, r, "warning", "net-porter is not running", "systemctl status net-porter")
	})
	t.Cleanup(func() { must(t, "alice", "podman", "network", "rm", "-f", "early") })
	t.Run("run", func(t *testing.T) {
		removeAfter(t, "alice", nameOf(t))
		r := refused(t, "alice", runArgs(nameOf(t), "--network", dhcpNet), "/run/net-porter.sock", "net-porter is not running", "systemctl status net-porter")
		if r.took > 45*time.Second { // else it has waited for a daemon: see taken
			t.Errorf("it took %v to say so", r.took)
		}
	})
	t.Run("stop", func(t *testing.T) {
		first.reaches(t, before.addr)
		r := lab(t, "alice", "podman", "stop", stays.name)
		if r.code != 0 {
			t.Errorf("exit status %d: a teardown must never fail the user", r.code)
		}
		says(t, r, "warning", "was not detached", "net-porter is not running")
		first.unplugged(t, before.mac)
	})

	again()
	// The container's old attachment is in the way of nothing.
	stays.podman(t, "start")
	after := stays.works(t, dhcpNet, "eth0", first, dhcpRange)
	stays.remove(t, first, after)
	c := startNamed(t, "alice", nameOf(t)+"-early", "--network", "early")
	c.remove(t, first, c.works(t, "early", "eth0", first, dhcpRange))
	nothingLeft(t)
}

// systemd holds the socket of a daemon whose configuration is wrong. A user is told so
// in the end, and what is mended works.
func TestDaemonCannotStart(t *testing.T) {
	requireLab(t)
	const config, away = "/etc/net-porter/config.json", "/etc/net-porter/config.json.away"
	must(t, "root", "systemctl", "stop", "net-porter.service")
	must(t, "root", "mv", config, away)
	t.Cleanup(func() {
		must(t, "root", "sh", "-c", `! test -e "$2" || mv "$2" "$1"; systemctl start net-porter`, "sh", config, away)
	})
	nobody := []string{"nobody took the request at /run/net-porter.sock", "systemctl status net-porter", "net-porter check"}
	r := lab(t, "alice", "podman", "network", "create", "-d", "net-porter", "-o", "net_porter_resource=macvlan-dhcp", "early")
	t.Cleanup(func() { must(t, "alice", "podman", "network", "rm", "-f", "early") })
	if r.code != 0 {
		t.Error("the network was not created; that the daemon cannot be asked is only a warning")
	}
	says(t, r, append(nobody, "the network is created")...)
	refused(t, "alice", []string{"net-porter", "networks"}, nobody...)
	removeAfter(t, "alice", nameOf(t))
	refused(t, "alice", runArgs(nameOf(t), "--network", "early"), nobody...)

	must(t, "root", "mv", away, config)
	must(t, "root", "systemctl", "start", "net-porter")
	must(t, "alice", "podman", "rm", "-f", "-i", "-t", "0", nameOf(t))
	c := start(t, "alice", "--network", "early")
	c.remove(t, first, c.works(t, "early", "eth0", first, dhcpRange))
	nothingLeft(t)
}

// Removing a container whose daemon is away succeeds too.
func TestDaemonDownRemove(t *testing.T) {
	requireLab(t)
	c := start(t, "alice", "--network", dhcpNet)
	e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	again := stopDaemon(t)
	r := lab(t, "alice", "podman", "rm", "-f", "-t", "0", c.name)
	if r.code != 0 {
		t.Errorf("exit status %d: a teardown must never fail the user", r.code)
	}
	says(t, r, "warning", "was not detached")
	again()
	first.unplugged(t, e.mac)
	// Podman never asks again: the daemon finds out by itself.
	nothingLeft(t)
}

// Containers do not notice that the daemon starts again, and are released by the new one.
func TestDaemonRestart(t *testing.T) {
	requireLab(t)
	dhcp := startNamed(t, "alice", nameOf(t)+"-dhcp", "--network", dhcpNet)
	fixed := startNamed(t, "alice", nameOf(t)+"-fixed", "--network", staticNet)
	one, two := dhcp.works(t, dhcpNet, "eth0", first, dhcpRange), fixed.works(t, staticNet, "eth0", first, fixedRange)
	must(t, "root", "systemctl", "restart", "net-porter")
	if again := dhcp.works(t, dhcpNet, "eth0", first, dhcpRange); again != one {
		t.Errorf("the container has %v, before it had %v", again, one)
	}
	if again := fixed.works(t, staticNet, "eth0", first, fixedRange); again != two {
		t.Errorf("the container has %v, before it had %v", again, two)
	}
	dhcp.remove(t, first, one)
	fixed.podman(t, "rm", "-f", "-t", "0")
	fixed.gone(t, first, two)
	nothingLeft(t)
}

// A daemon that dies without a word comes back with what it had recorded.
func TestDaemonKilled(t *testing.T) {
	requireLab(t)
	c := start(t, "alice", "--network", dhcpNet)
	e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	must(t, "root", "systemctl", "kill", "-s", "KILL", "net-porter")
	t.Cleanup(func() { must(t, "root", "systemctl", "reset-failed", "net-porter") })
	// systemd would start it again after a second; a start waits until it is ready.
	must(t, "root", "systemctl", "start", "net-porter")
	if again := c.works(t, dhcpNet, "eth0", first, dhcpRange); again != e {
		t.Errorf("the container has %v, before it had %v", again, e)
	}
	c.remove(t, first, e)
	nothingLeft(t)
}

// The end of all of a user's processes, without a teardown, releases what they had, at
// the DHCP server too. The container that starts again is the same to the LAN.
func TestLogout(t *testing.T) {
	requireLab(t)
	c := start(t, "bob", "--network", dhcpNet)
	before := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	since := first.now(t)
	must(t, "root", "loginctl", "terminate-user", "bob")
	first.released(t, since, before)
	nothingLeft(t)
	must(t, "root", "systemctl", "start", "user@1001.service")
	c.startAgain(t)
	after := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	if after != before {
		t.Errorf("the container has %v, before it had %v", after, before)
	}
	c.remove(t, first, after)
	nothingLeft(t)
}

func TestNoDHCPAnswer(t *testing.T) {
	requireLab(t)
	stopService(t, "lan-dnsmasq")
	removeAfter(t, "alice", nameOf(t))
	r := refused(t, "alice", runArgs(nameOf(t), "--network", dhcpNet), "no DHCP server answered", "carrier")
	if r.took > 40*time.Second {
		t.Errorf("it took %v to say so", r.took)
	}
	nothingLeft(t)
}

func TestParentLinkDown(t *testing.T) {
	requireLab(t)
	t.Cleanup(func() { must(t, "root", "ip", "link", "set", "infra", "up") })
	must(t, "root", "ip", "link", "set", "infra", "down")
	removeAfter(t, "alice", nameOf(t))
	r := refused(t, "alice", runArgs(nameOf(t), "--network", dhcpNet), "parent link", "down", "administrator")
	if r.took > 40*time.Second {
		t.Errorf("it took %v to say so", r.took)
	}
	nothingLeft(t)
}

func TestParentLinkMissing(t *testing.T) {
	requireLab(t)
	t.Cleanup(func() {
		must(t, "root", "ip", "link", "set", "elsewhere", "name", "infra")
		must(t, "root", "ip", "link", "set", "infra", "up")
		nothingLeft(t)
	})
	must(t, "root", "ip", "link", "set", "infra", "down")
	must(t, "root", "ip", "link", "set", "infra", "name", "elsewhere")
	removeAfter(t, "alice", nameOf(t))
	refused(t, "alice", runArgs(nameOf(t), "--network", dhcpNet), "parent link infra", "not there", "administrator")
	r := lab(t, "alice", "podman", "network", "create", "-d", "net-porter", "-o", "net_porter_resource=macvlan-dhcp", "unplugged")
	t.Cleanup(func() { must(t, "alice", "podman", "network", "rm", "-f", "unplugged") })
	if r.code != 0 {
		t.Error("the network was not created; that its resource is not ready is only a warning")
	}
	says(t, r, "warning", "not ready", "parent link infra")
}

// Ctrl-C in the middle of a setup leaves nothing.
func TestInterruptedSetup(t *testing.T) {
	requireLab(t)
	again := stopService(t, "lan-dnsmasq")
	wire, err := follow("ip", "netns", "exec", "lan", "tcpdump", "-l", "-n", "-i", "br0", "udp", "port", "67")
	if err != nil {
		t.Fatal(err)
	}
	defer wire.end()
	wire.await(t, 0, "listening on")
	daemon, err := follow("journalctl", "-f", "-n", "all", "-o", "cat", "-u", "net-porter")
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.end()

	name := nameOf(t)
	removeAfter(t, "alice", name)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := labhost.Command(ctx, "alice", runArgs(name, "--network", dhcpNet)...)
	// A terminal sends the signal to every process of the job.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wire.await(t, 0, "DHCP, Request")
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("podman run succeeded")
	}
	daemon.await(t, 0, "msg=attach", "container_name="+name, "given up")
	nothingLeft(t)

	again()
	must(t, "alice", "podman", "rm", "-f", "-i", "-t", "0", name)
	c := start(t, "alice", "--network", dhcpNet)
	c.remove(t, first, c.works(t, dhcpNet, "eth0", first, dhcpRange))
}
