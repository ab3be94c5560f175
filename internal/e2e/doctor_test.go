package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// doctor is what `net-porter doctor --json` says.
type doctor struct {
	OK       bool
	Findings []struct{ ID, Result, Text, Remedy string }
}

// doctorSays runs the doctor and checks its exit status by what it says.
func doctorSays(t *testing.T, user string, args ...string) (d doctor) {
	t.Helper()
	r := lab(t, user, append([]string{"net-porter", "doctor", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil {
		t.Fatalf("exit status %d: %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	if wrong := map[bool]int{true: 0, false: 1}[d.OK]; r.code != wrong {
		t.Errorf("ok is %v, and the exit status %d", d.OK, r.code)
	}
	return d
}

// finds wants one finding of a result and an id that has some words; with no words, that
// there are no problems.
func (d doctor) finds(t *testing.T, result, id string, words ...string) {
	t.Helper()
	for _, f := range d.Findings {
		if f.ID != id || f.Result != result {
			continue
		}
		all := true
		for _, word := range words {
			all = all && strings.Contains(f.Text+" "+f.Remedy, word)
		}
		if all {
			t.Logf("%s: %s\n-> %s", f.ID, f.Text, f.Remedy)
			return
		}
	}
	t.Errorf("there is no %s %s with %q: %+v", result, id, words, d.Findings)
}

// well wants no problems.
func (d doctor) well(t *testing.T) {
	t.Helper()
	if !d.OK {
		t.Errorf("problems are found where there are none: %+v", d.Findings)
	}
}

// What a newcomer can have wrong is said by name, with what mends it; and where nothing is
// wrong, that is said.
func TestDoctor(t *testing.T) {
	requireLab(t)
	t.Run("all is well", func(t *testing.T) {
		doctorSays(t, "alice").well(t)
		d := doctorSays(t, "root", "--user", "alice", "--probe-dhcp", "--resource", "macvlan-dhcp", "--probe-time", "6s")
		d.well(t)
		d.finds(t, "ok", "dhcp.offer", "infra", "192.0.2.1", "it was not taken")
		d.finds(t, "ok", "resources.allowed", "alice may use the resource macvlan-static")
		doctorSays(t, "root").well(t)
		human := must(t, "alice", "net-porter", "doctor")
		if !strings.Contains(human, "0 problems") && !strings.Contains(human, "nothing is wrong") {
			t.Errorf("it says %s", human)
		}
	})
	t.Run("not in the group", func(t *testing.T) {
		doctorSays(t, "mallory").finds(t, "problem", "access.group", "usermod -aG net-porter mallory")
	})
	t.Run("a session from before the group", func(t *testing.T) {
		t.Cleanup(func() { must(t, "root", "gpasswd", "-d", "mallory", "net-porter") })
		must(t, "root", "usermod", "-aG", "net-porter", "mallory")
		// As a session has it that is older than that: with the groups that it had.
		r := lab(t, "root", "setpriv", "--reuid=1002", "--regid=1002", "--clear-groups", "env", "HOME=/home/mallory", "net-porter", "doctor")
		if r.code != 1 || !strings.Contains(r.stdout, "this session is from before that") || !strings.Contains(r.stdout, "newgrp net-porter") {
			t.Errorf("exit status %d: %s", r.code, r.stdout)
		}
		// The user manager started when the lab did.
		doctorSays(t, "root", "--user", "mallory").finds(t, "problem", "access.manager", "systemctl restart user@1002.service")
	})
	t.Run("nothing allowed", func(t *testing.T) {
		doctorSays(t, "carol").finds(t, "problem", "resources.allowed", "allow_users")
		doctorSays(t, "root", "--user", "carol").finds(t, "problem", "resources.allowed", "no resource that carol may use")
	})
	t.Run("daemon stopped", func(t *testing.T) {
		again := stopDaemon(t)
		doctorSays(t, "alice").finds(t, "problem", "daemon.answer", "nobody listens", "systemctl enable --now net-porter.socket")
		again()
	})
	t.Run("parent down", func(t *testing.T) {
		t.Cleanup(func() { must(t, "root", "ip", "link", "set", "infra2", "up") })
		must(t, "root", "ip", "link", "set", "infra2", "down")
		d := doctorSays(t, "alice")
		d.finds(t, "problem", "resources.ready", "macvlan-dhcp2", "is down")
		d.finds(t, "problem", "configuration.check", "infra2", "ip link set infra2 up")
	})
	t.Run("no DHCP server", func(t *testing.T) {
		again := stopService(t, "lan2-dnsmasq")
		d := doctorSays(t, "root", "--probe-dhcp", "--interface", "infra2", "--probe-time", "2s")
		d.finds(t, "problem", "dhcp.probe", "no DHCP server answers", "infra2")
		again()
	})
	t.Run("plugin gone", func(t *testing.T) {
		const plugin = "/usr/lib/netavark/net-porter"
		t.Cleanup(func() { must(t, "root", "mv", plugin+".away", plugin) })
		must(t, "root", "mv", plugin, plugin+".away")
		doctorSays(t, "alice").finds(t, "problem", "podman.plugin", "finds no plugin net-porter", "/usr/lib/netavark")
	})
	t.Run("a network of another resource", func(t *testing.T) {
		again := stopDaemon(t) // which would have refused it
		t.Cleanup(func() { must(t, "alice", "podman", "network", "rm", "astray") })
		must(t, "alice", "podman", "network", "create", "-d", "net-porter", "-o", "net_porter_resource=macvlan-dchp", "astray")
		again()
		doctorSays(t, "alice").finds(t, "problem", "networks.resource", "astray", "macvlan-dchp")
	})
	t.Run("a conflist that is none", func(t *testing.T) {
		const conflist = "/etc/net-porter/cni.d/macvlan-dhcp2.json"
		t.Cleanup(func() { must(t, "root", "mv", conflist+".away", conflist) })
		must(t, "root", "mv", conflist, conflist+".away")
		put(t, conflist, `{"cniVersion": "1.0.0", "name": "x"`)
		doctorSays(t, "root").finds(t, "problem", "configuration.check", conflist, "macvlan-dhcp2")
		// What was before it is in force, so that those who look later are told, too.
		doctorSays(t, "alice").finds(t, "problem", "configuration.check", conflist, "macvlan-dhcp2")
	})
	t.Run("wrong usage", func(t *testing.T) {
		for _, args := range [][]string{
			{"--user", "nobody-of-that-name"}, {"--resource", "lan"}, {"more"}, {"--no-such-flag"},
			// For root alone, and for resources with DHCP.
			{"--user", "root"}, {"--probe-dhcp"}, {"as", "root", "--probe-dhcp", "--resource", "macvlan-static"},
		} {
			user := "alice"
			if args[0] == "as" {
				user, args = args[1], args[2:]
			}
			r := lab(t, user, append([]string{"net-porter", "doctor"}, args...)...)
			if r.code != 2 || r.stderr == "" {
				t.Errorf("%q: exit status %d: %s", args, r.code, r.stderr)
			}
		}
	})
}
