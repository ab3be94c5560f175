package e2e

import (
	"strings"
	"testing"
)

// `systemctl reload` puts a change in force without a restart, and says so when the file
// is wrong; containers that run notice neither.
func TestReload(t *testing.T) {
	requireLab(t)
	const config = "/etc/net-porter/config.json"
	c := start(t, "alice", "--network", dhcpNet)
	e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	must(t, "root", "cp", config, config+".before")
	restore := func() {
		must(t, "root", "sh", "-c", "mv "+config+".before "+config+" && systemctl reload net-porter")
	}
	restored := false
	t.Cleanup(func() {
		if !restored {
			restore()
		}
	})
	pid := must(t, "root", "systemctl", "show", "-P", "MainPID", "net-porter")

	must(t, "root", "sed", "-i", `s/"alice", //g`, config)
	must(t, "root", "systemctl", "reload", "net-porter")
	removeAfter(t, "alice", nameOf(t)+"-late")
	refused(t, "alice", runArgs(nameOf(t)+"-late", "--network", dhcpNet), "there is no resource", "macvlan-dhcp")

	must(t, "root", "sed", "-i", `s/"resources": \[/&,/`, config)
	if r := lab(t, "root", "systemctl", "reload", "net-porter"); r.code == 0 {
		t.Error("a reload of a broken file is called a success")
	}
	status := must(t, "root", "systemctl", "status", "net-porter")
	if !strings.Contains(status, "active (running)") || !strings.Contains(status, config+":") {
		t.Errorf("its status is\n%s", status)
	}
	restored = true
	restore()
	if now := must(t, "root", "systemctl", "show", "-P", "MainPID", "net-porter"); now != pid {
		t.Errorf("the daemon is another process: %s, before %s", now, pid)
	}
	if again := c.works(t, dhcpNet, "eth0", first, dhcpRange); again != e {
		t.Errorf("the container has %v, before it had %v", again, e)
	}
	c.podman(t, "rm", "-f", "-t", "0")
	c.gone(t, first, e)
	nothingLeft(t)
}
