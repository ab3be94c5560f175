package installed

import (
	"fmt"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/labhost"
)

// upgrade has apt put the newer package in the place of the older one, while both
// containers are pinged five times a second, and others are run one after another.
func (m *machine) upgrade(t *testing.T) {
	path := put(t, newVersion)
	silent := "DHCPDISCOVER|DHCPRELEASE|DHCPDECLINE|DHCPNAK"
	both := []*container{m.web, m.stays}
	before := map[*container]int{}
	pings := map[*container]func() string{}
	for _, c := range both {
		before[c] = c.logged(t, silent)
		pings[c] = c.ping(t)
	}
	ends, started, runs := make(chan struct{}), make(chan struct{}, 1), make(chan int)
	go func() {
		n := 0
		defer func() { runs <- n }()
		for {
			// It must have been running when apt begins, and not be refused while it is at it.
			select {
			case started <- struct{}{}:
			default:
			}
			said, code := run(t, "podman", "podman", "run", "--rm", "--network", "net-porter", "docker.io/library/nginx:alpine", "true")
			if code != 0 {
				t.Errorf("podman run during the upgrade: exit status %d: %s", code, said)
			}
			n++
			select {
			case <-ends:
				return
			default:
			}
		}
	}()
	<-started
	said := apt(t, "install", path)
	close(ends)
	t.Logf("%d containers ran meanwhile", <-runs)

	says(t, said, "Unpacking net-porter ("+newVersion)
	says(t, must(t, "root", "net-porter", "version"), newVersion)
	says(t, shell(t, "journalctl --sync; journalctl -u net-porter.service -o cat --no-pager | grep 'is ready' | tail -n 1"), "version="+newVersion)
	renewed := m.stays.logged(t, "DHCPACK")
	// The server tells nobody.
	eventually(t, func() string {
		if m.stays.logged(t, "DHCPACK") < renewed+2 {
			return "the lease is not renewed any more"
		}
		return ""
	})
	for _, c := range both {
		if lost := pings[c](); lost != "" {
			t.Errorf("%s was away: %s", c.name, lost)
		}
		c.same(t, "after the upgrade")
		if n := c.logged(t, silent); n != before[c] {
			t.Errorf("the lease of %s was away: the server's log has %d lines of %s, it had %d", c.name, n, silent, before[c])
		}
	}
}

// ping has the neighbour ping the container until the function that it returns is called,
// which tells what had no reply.
func (c *container) ping(t *testing.T) (end func() string) {
	t.Helper()
	unit, out := "ping-"+c.name, "/run/ping-"+c.name
	// Interrupted, it counts, the last reply being on its way perhaps. One that comes late is
	// a reply: how busy the machine is, is not what this is about.
	must(t, "root", "systemd-run", "--quiet", "--collect", "--unit="+unit, "-p", "KillSignal=SIGINT",
		"-p", "NetworkNamespacePath=/run/netns/"+c.neighbour, "-p", "StandardOutput=file:"+out,
		"ping", "-n", "-i", "0.2", c.addr)
	return func() string {
		must(t, "root", "systemctl", "stop", unit+".service")
		said := must(t, "root", "cat", out)
		must(t, "root", "rm", out)
		var sent, received int
		_, counts, _ := strings.Cut(said, " ping statistics ---\n")
		if _, err := fmt.Sscanf(counts, "%d packets transmitted, %d received", &sent, &received); err != nil || received == 0 {
			return fmt.Sprintf("nothing was pinged: %s", said)
		}
		if received < sent-1 {
			return fmt.Sprintf("%d pings had no reply", sent-received)
		}
		return ""
	}
}

// upgradeWrong is an upgrade of a machine on which the configuration is wrong: here by
// hand, as it might be for a newer version. The daemon that runs goes on.
func (m *machine) upgradeWrong(t *testing.T) {
	shell(t, "cp -p /etc/net-porter/config.json /root/; echo '{' >/etc/net-porter/config.json")
	pid := shell(t, "systemctl show -P MainPID net-porter.service")
	says(t, apt(t, "install", "--reinstall", put(t, newVersion)), "from before the upgrade", "/etc/net-porter/config.json:", "systemctl restart net-porter.service")
	if now := shell(t, "systemctl show -P MainPID net-porter.service"); now != pid {
		t.Errorf("the daemon is another process: %s, it was %s", now, pid)
	}
	shell(t, "mv /root/config.json /etc/net-porter/; systemctl restart net-porter.service")
	m.web.same(t, "after it was put right")
}

// reboot cuts the power. Nobody logs in afterwards.
func (m *machine) reboot(t *testing.T) {
	must(t, "root", "sync")
	if err := labhost.Script("lab", nil, "reboot"); err != nil {
		t.Fatalf("the machine does not come back: %v", err)
	}
	for _, c := range []*container{m.web, m.stays} {
		// By itself: who asked systemd to start it, which could be waited on, might have started it.
		eventually(t, func() string {
			if state, code := run(t, "podman", "systemctl", "--user", "is-active", c.name+".service"); code != 0 {
				return c.name + ".service is " + state
			}
			return ""
		})
		c.same(t, "after the reboot")
	}
}
