package installed

import (
	"slices"
	"strings"
	"testing"
)

// remove takes the program away while containers run.
func (m *machine) remove(t *testing.T) {
	config := shell(t, "cat /etc/net-porter/config.json /etc/net-porter/cni.d/* /etc/net-porter/config.d/*")
	ping := m.web.ping(t)
	said := apt(t, "remove", "net-porter")
	says(t, said, "containers still have 2 interfaces", "nobody renews")
	if now := shell(t, "cat /etc/net-porter/config.json /etc/net-porter/cni.d/* /etc/net-porter/config.d/*"); now != config {
		t.Error("the configuration is not what it was")
	}
	must(t, "root", "test", "-d", "/var/lib/net-porter/attachments")
	if found := shell(t, "ls -d /run/net-porter* /usr/bin/net-porter /usr/lib/net-porter /usr/lib/netavark/net-porter 2>/dev/null || true"); found != "" {
		t.Errorf("still there: %s", found)
	}
	if found := shell(t, "systemctl list-units --all --no-legend --plain | grep net-porter || true"); found != "" {
		t.Errorf("systemd still has: %s", found)
	}
	if lost := ping(); lost != "" {
		t.Errorf("web was away: %s", lost)
	}
	said, code := run(t, "podman", "podman", "run", "--rm", "--network", "net-porter", "docker.io/library/nginx:alpine", "true")
	if code == 0 {
		t.Error("a container has started without the plugin")
	}
	says(t, said, "net-porter")
}

// reinstall brings it back, and the containers have never ended.
func (m *machine) reinstall(t *testing.T) {
	apt(t, "install", put(t, newVersion))
	if state, _ := run(t, "root", "systemctl", "is-enabled", "net-porter.service"); strings.TrimSpace(state) != "disabled" {
		t.Errorf("the service is %s", state)
	}
	// As the README has it.
	must(t, "root", "systemctl", "enable", "--now", "net-porter.service")
	said := must(t, "podman", "net-porter", "attachments")
	says(t, said, m.web.addr, m.stays.addr, "attached")
	renewed := m.stays.logged(t, "DHCPACK")
	// The server tells nobody.
	eventually(t, func() string {
		if m.stays.logged(t, "DHCPACK") == renewed {
			return "the lease is not renewed again"
		}
		return ""
	})
	m.web.same(t, "after the reinstallation")
}

// purge is the end: of ours there is as much as on the first day, in files, users, units,
// links and firewall rules. Podman stays, and what it has made.
func (m *machine) purge(t *testing.T) {
	must(t, "podman", "systemctl", "--user", "stop", "web.service", "stays.service")
	apt(t, "purge", "net-porter")
	after := m.snapshot(t)
	if found := after.ours(); len(found) > 0 {
		t.Errorf("still there:\n%s", strings.Join(found, "\n"))
	}
	if after.group != m.before.group || after.network != m.before.network {
		t.Errorf("before:\n%s\n%s\nafter:\n%s\n%s", m.before.group, m.before.network, after.group, after.network)
	}
	// What was there when apt had installed it, and has not our name, is podman's.
	for _, file := range after.files {
		if !slices.Contains(m.before.files, file) && !slices.Contains(m.installed.files, file) && !ofOthers(file) {
			t.Errorf("new on the machine: %s", file)
		}
	}
	for _, file := range m.before.files {
		if !slices.Contains(after.files, file) && !ofOthers(file) {
			t.Errorf("gone from the machine: %s", file)
		}
	}
	if said := shell(t, "systemctl --failed --no-legend --plain"); said != "" {
		t.Errorf("failed: %s", said)
	}
}
