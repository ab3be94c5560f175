package installed

import (
	"strings"
	"testing"
)

// What an administrator does with the package from its first day to its last, in this
// order, on one machine.
func TestPackageOnACleanMachine(t *testing.T) {
	requireMachine(t)
	m := &machine{t: t}
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"there is nothing of ours", m.clean},
		{"apt installs it and podman", m.install},
		{"without a configuration it says what to do", m.unconfigured},
		{"the socket is started", m.start},
		{"a user's container gets its address", m.containers},
		{"an upgrade is noticed by no container", m.upgrade},
		{"an upgrade to what would not start leaves the daemon be", m.upgradeWrong},
		{"after a reboot Quadlet's containers have their addresses", m.reboot},
		{"removed, it leaves what is the administrator's", m.remove},
		{"installed again, it knows its containers", m.reinstall},
		{"purged, it leaves nothing", m.purge},
	} {
		if !t.Run(step.name, step.do) {
			t.Fatal("the other steps build upon this one")
		}
	}
}

// machine is the one, and what is known of it.
type machine struct {
	t                 *testing.T
	before, installed snapshot
	web               *container // a Quadlet's, from the package's examples
	stays             *container // on the LAN where leases are renewed every four seconds
}

func (m *machine) clean(t *testing.T) {
	m.before = m.snapshot(t)
	if found := m.before.ours(); len(found) > 0 {
		t.Fatalf("this is no clean machine: %q", found)
	}
	if said, code := run(t, "root", "sh", "-c", "command -v podman"); code == 0 {
		t.Fatalf("this is no clean machine: %s", said)
	}
	// Servers have something that waits for the network; Quadlet's units do.
	must(t, "root", "systemctl", "--quiet", "add-wants", "multi-user.target", "network-online.target")
	must(t, "root", "systemctl", "start", "network-online.target")
	must(t, "root", "loginctl", "enable-linger", "podman")
	must(t, "root", "systemctl", "start", "user@1000.service")
}

func (m *machine) install(t *testing.T) {
	said := apt(t, "install", put(t, oldVersion))
	says(t, said, "nothing is started yet", "/etc/net-porter/config.json", "systemctl enable --now net-porter")
	if strings.Contains(said, "could not be made") {
		t.Errorf("apt says:\n%s", said)
	}
	for _, unit := range []string{"net-porter.service", "net-porter.socket"} {
		if state, _ := run(t, "root", "systemctl", "is-enabled", unit); strings.TrimSpace(state) != "disabled" {
			t.Errorf("%s is %s", unit, state)
		}
		if state, _ := run(t, "root", "systemctl", "is-active", unit); strings.TrimSpace(state) != "inactive" {
			t.Errorf("%s is %s", unit, state)
		}
	}
	must(t, "root", "getent", "group", "net-porter")
	says(t, must(t, "root", "net-porter", "version"), oldVersion)
	must(t, "podman", "podman", "info")
	if said := shell(t, "systemctl --failed --no-legend --plain"); said != "" {
		t.Errorf("failed: %s", said)
	}
	m.installed = m.snapshot(t)
}

func (m *machine) unconfigured(t *testing.T) {
	said, code := run(t, "root", "systemctl", "start", "net-porter.service")
	if code == 0 {
		t.Errorf("it has started, with nothing to go by: %s", said)
	}
	says(t, said, "systemctl status net-porter.service")
	says(t, shell(t, "journalctl --sync; journalctl -u net-porter.service -o cat --no-pager"), "/etc/net-porter/config.json", "no such file")
	shell(t, "echo '{\"resources\": [{\"name\" \"lan\"}]}' >/etc/net-porter/config.json")
	said, code = run(t, "root", "net-porter", "check")
	if code != 1 {
		t.Errorf("check: exit status %d", code)
	}
	says(t, said, "/etc/net-porter/config.json:1:")
	must(t, "root", "systemctl", "stop", "net-porter.socket", "net-porter.service")
}

// start writes the two files, as the package's examples have them, and a second resource,
// and starts no more than the socket.
func (m *machine) start(t *testing.T) {
	shell(t, `
		cp /usr/share/doc/net-porter/examples/config.json /etc/net-porter/
		cp /usr/share/doc/net-porter/examples/cni.d/macvlan-dhcp.json /etc/net-porter/cni.d/
		sed 's/"infra"/"infra2"/; s/"macvlan-dhcp"/"second"/' /etc/net-porter/cni.d/macvlan-dhcp.json >/etc/net-porter/cni.d/second.json
		echo '{"resources": [{"name": "second", "allow_users": ["podman"]}]}' >/etc/net-porter/config.d/second.json
		net-porter check
		systemctl enable --now net-porter.socket
		usermod -aG net-porter podman
		systemctl restart user@1000.service`) // who lingers never logs in anew
	if state, _ := run(t, "root", "systemctl", "is-active", "net-porter.service"); strings.TrimSpace(state) == "active" {
		t.Error("the service runs before its first caller")
	}
}

func (m *machine) containers(t *testing.T) {
	for network, resource := range map[string]string{"net-porter": "macvlan-dhcp", "second": "second"} {
		must(t, "podman", "podman", "network", "create", "-d", "net-porter",
			"-o", "net_porter_resource="+resource, "-o", "net_porter_socket=/run/net-porter.sock", network)
	}
	if state := must(t, "root", "systemctl", "is-active", "net-porter.service"); state != "active" {
		t.Errorf("the service is %s", state)
	}
	// No registry is in reach. A busybox goes by the name that the examples have.
	must(t, "podman", "podman", "import", "-q", "-c", `CMD ["httpd", "-f"]`, "/usr/local/share/lab/bb.tar", "docker.io/library/nginx:alpine")
	must(t, "podman", "sh", "-ec", `
		mkdir -p .config/containers/systemd && cd .config/containers/systemd
		cp /usr/share/doc/net-porter/examples/quadlet/lan.network /usr/share/doc/net-porter/examples/quadlet/web.container .
		sed 's/ContainerName=web/ContainerName=stays/; s/lan.network/second/' web.container >stays.container
		systemctl --user daemon-reload
		systemctl --user start web.service stays.service`)
	m.web = &container{name: "web", network: "net-porter", neighbour: "neighbour", log: "/var/log/lan-dnsmasq.log"}
	m.stays = &container{name: "stays", network: "second", neighbour: "neighbour2", log: "/var/log/lan2-dnsmasq.log"}
	m.web.look(t)
	m.stays.look(t)
	t.Logf("web has %s, stays has %s", m.web.addr, m.stays.addr)

	// Who is not in the group, and who is and is not named.
	if said, code := run(t, "alice", "net-porter", "networks"); code == 0 {
		t.Errorf("somebody outside of the group is answered: %s", said)
	}
	must(t, "root", "usermod", "-aG", "net-porter", "alice")
	if said := must(t, "alice", "net-porter", "networks"); strings.Contains(said, "macvlan-dhcp") {
		t.Errorf("somebody who is not named may have: %s", said)
	}
}
