package installed

import (
	"strings"
	"testing"
)

// snapshot is what there is on the machine.
type snapshot struct {
	files   []string // of its disk and of /run, sorted
	units   string
	group   string // /etc/group, without podman's
	network string // links of the host and firewall rules
}

func (m *machine) snapshot(t *testing.T) snapshot {
	t.Helper()
	s := snapshot{}
	s.files = strings.Split(shell(t, "find / /run -xdev \\( -path /home -o -path /proc -o -path /sys -o -path /run/user \\) -prune -o -print | sort -u"), "\n")
	s.units = shell(t, "systemctl list-units --all --no-legend --plain; systemctl list-unit-files --no-legend")
	s.group = shell(t, "grep -E '^(net-porter|podman|alice):' /etc/group; grep -c . /etc/passwd")
	s.network = shell(t, "ip -o link show | cut -d' ' -f2 | cut -d@ -f1 | sort; nft list ruleset")
	return s
}

// ours are the files, units, groups and rules that have our name.
func (s snapshot) ours() (found []string) {
	for _, list := range [][]string{s.files, strings.Split(s.units, "\n"), strings.Split(s.group, "\n"), strings.Split(s.network, "\n")} {
		for _, line := range list {
			if strings.Contains(line, "net-porter") && !ofOthers(line) {
				found = append(found, line)
			}
		}
	}
	return found
}

// ofOthers are files that come and go with systemd, dpkg, podman and the machine's LAN, or
// that this test has put there.
func ofOthers(file string) bool {
	for _, path := range []string{
		"/root/", "/tmp", "/var/tmp", "/var/log/", "/var/cache/", "/var/lib/dpkg/", "/var/lib/apt/", "/var/lib/systemd/",
		"/var/lib/lan", "/run/systemd/", "/run/log/", "/run/udev", "/run/netns", "/run/lan", "/run/dbus", "/run/lock", "/run/sudo",
		"/etc/dpkg/dpkg.cfg.d/lab", "/run/host",
		"/run/podman", "/var/lib/containers",
	} {
		if strings.HasPrefix(file, path) {
			return true
		}
	}
	return false
}
