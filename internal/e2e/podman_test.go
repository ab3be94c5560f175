package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// container is a user's container.
type container struct {
	user, name, id string
}

// nameOf makes a container name, which also is a host name, of a test's.
func nameOf(t testing.TB) string {
	name := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 50)]
}

// runArgs is podman's command for a container that stays until it is told to stop,
// and then stops at once.
func runArgs(name string, flags ...string) []string {
	args := append([]string{"podman", "run", "-d", "--name", name, "--stop-signal", "KILL"}, flags...)
	return append(args, "localhost/bb", "sleep", "infinity")
}

// start runs a container named like the test; it is removed when the test is over.
func start(t testing.TB, user string, flags ...string) *container {
	t.Helper()
	return startNamed(t, user, nameOf(t), flags...)
}

func startNamed(t testing.TB, user, name string, flags ...string) *container {
	t.Helper()
	removeAfter(t, user, name)
	return &container{user: user, name: name, id: must(t, user, runArgs(name, flags...)...)}
}

// removeAfter removes a container, which need not be there, when the test is over.
func removeAfter(t testing.TB, user, name string) {
	t.Cleanup(func() { must(t, user, "podman", "rm", "-f", "-i", "-t", "0", name) })
}

// exec runs a command in the container and returns what it wrote.
func (c *container) exec(t testing.TB, args ...string) string {
	t.Helper()
	return must(t, c.user, append([]string{"podman", "exec", c.name}, args...)...)
}

// podman runs `podman COMMAND... NAME`.
func (c *container) podman(t testing.TB, command ...string) {
	t.Helper()
	must(t, c.user, slices.Concat([]string{"podman"}, command, []string{c.name})...)
}

// details is what a test needs of `podman inspect`.
type details struct {
	ID    string `json:"Id"`
	State struct {
		Running   bool
		Pid       int
		ConmonPid int
	}
	NetworkSettings struct {
		SandboxKey string // path of the network namespace, as the user sees it
		Networks   map[string]struct {
			IPAddress  string
			MacAddress string
		}
	}
}

func (c *container) inspect(t testing.TB) details {
	t.Helper()
	var all []details
	if err := json.Unmarshal([]byte(must(t, c.user, "podman", "inspect", "--type", "container", c.name)), &all); err != nil || len(all) != 1 {
		t.Fatalf("cannot understand podman inspect: %v", err)
	}
	return all[0]
}

// endpoint is what podman says that the container has on a network.
func (c *container) endpoint(t testing.TB, network string) endpoint {
	t.Helper()
	n, ok := c.inspect(t).NetworkSettings.Networks[network]
	if !ok {
		t.Fatalf("podman says that %s is not on the network %s", c.name, network)
	}
	addr, err := netip.ParseAddr(n.IPAddress)
	if err != nil {
		t.Fatalf("podman says that the address of %s is %q", c.name, n.IPAddress)
	}
	return endpoint{addr: addr, mac: n.MacAddress}
}

// works checks all that a user expects of a container on a LAN: the interface has an
// address that the LAN gives out, podman knows it, the neighbour gets a reply, and
// the user's list of attachments has it.
func (c *container) works(t testing.TB, network, ifname string, l *lan, bounds [2]byte) endpoint {
	t.Helper()
	e := c.endpoint(t, network)
	l.inRange(t, e.addr, bounds)
	// Of a pod's containers any will do.
	inside := c.exec(t, "sh", "-c", "ip -o -4 addr show dev "+ifname+" && cat /sys/class/net/"+ifname+"/address")
	if !strings.Contains(inside, " inet "+e.addr.String()+"/24 ") || !strings.Contains(inside, e.mac) {
		t.Errorf("podman says that %s has %v, but inside there is:\n%s", ifname, e, inside)
	}
	l.reaches(t, e.addr)
	var found bool
	for _, a := range attachments(t, c.user) {
		found = found || a.ContainerID == c.id && a.InterfaceName == ifname && a.State == "attached"
	}
	if !found {
		t.Errorf("%s does not see %s of %s in the list of attachments", c.user, ifname, c.name)
	}
	return e
}

// gone checks that nothing of the container's interface on a LAN is left: no link, no
// record, no file.
func (c *container) gone(t testing.TB, l *lan, e endpoint) {
	t.Helper()
	l.unplugged(t, e.mac)
	// The record goes after what it is of; and podman does not wait for its cleanup of what
	// has crashed.
	eventually(t, func() string {
		for _, a := range attachments(t, "root") {
			if a.ContainerID == c.id {
				return fmt.Sprintf("there still is an attachment of %s: %+v", c.name, a)
			}
		}
		if left := must(t, "root", "find", "/var/lib/net-porter", "-name", "*"+c.id+"*"); left != "" {
			return "files are left:\n" + left
		}
		return ""
	})
}

// remove removes the container, which has to leave nothing of its only interface, a
// DHCP one.
func (c *container) remove(t testing.TB, l *lan, e endpoint) {
	t.Helper()
	since := l.now(t)
	c.podman(t, "rm", "-f", "-t", "0")
	l.released(t, since, e)
	c.gone(t, l, e)
}

// listed is an attachment in the daemon's list.
type listed struct {
	ContainerID   string `json:"container_id"`
	InterfaceName string `json:"interface_name"`
	State         string `json:"state"`
	Result        struct {
		Interfaces []struct {
			Name, MAC string
		}
		IPs []struct{ Address netip.Prefix }
	}
}

// held is what the container has by the attachment: its MAC and its first address.
func (a listed) held() holding {
	h := holding{container: a.ContainerID}
	for _, i := range a.Result.Interfaces {
		if i.Name == a.InterfaceName {
			h.mac = i.MAC
		}
	}
	if len(a.Result.IPs) > 0 {
		h.addr = a.Result.IPs[0].Address.Addr()
	}
	return h
}

func attachments(t testing.TB, user string) []listed {
	t.Helper()
	var list struct{ Attachments []listed }
	if err := json.Unmarshal([]byte(must(t, user, "net-porter", "attachments", "--json")), &list); err != nil {
		t.Fatalf("cannot understand net-porter attachments: %v", err)
	}
	return list.Attachments
}
