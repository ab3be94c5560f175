package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Plugins run with the unit's rights, and these are the ones that want most: firewall
// rules, sysctls of the host and of the container, routing rules, a device, files. So does
// enforcement.
func TestChainsUnderTheUnit(t *testing.T) {
	requireLab(t)
	// As long as one runs, podman does not start pasta(1) anew, which would take the bridge's
	// network for the host's way out.
	startNamed(t, "alice", nameOf(t)+"-first", "--network", dhcpNet)
	unitResources(t)
	t.Run("bridge, tuning, sbr and portmap", func(t *testing.T) {
		c := start(t, "alice", "--network", "unit-bridge", "-p", "18080:80")
		addr := c.endpoint(t, "unit-bridge").addr.String()
		c.exec(t, "sh", "-c", "mkdir -p /run/www && echo served >/run/www/index.html && httpd -h /run/www")
		if got := must(t, "bob", "curl", "-sS", "--max-time", "20", "http://203.0.113.1:18080/"); got != "served" {
			t.Errorf("the published port says %q", got)
		}
		if got := c.exec(t, "cat", "/proc/sys/net/ipv4/conf/eth0/arp_filter"); got != "1" {
			t.Errorf("the sysctl is %s", got)
		}
		if got := c.exec(t, "ip", "rule"); !strings.Contains(got, addr) {
			t.Errorf("no rule for %s:\n%s", addr, got)
		}
		must(t, "root", "test", "-f", "/var/lib/cni/networks/unit-bridge/"+addr)
		c.podman(t, "rm", "-f", "-t", "0")
		must(t, "root", "test", "!", "-e", "/var/lib/cni/networks/unit-bridge/"+addr)
		if left := must(t, "root", "sh", "-c", "(nft list ruleset; iptables-save) 2>/dev/null | grep 18080 || true"); left != "" {
			t.Errorf("rules are left:\n%s", left)
		}
	})
	t.Run("tap", func(t *testing.T) {
		c := start(t, "alice", "--network", "unit-tap")
		if got := c.exec(t, "ip", "-o", "-4", "addr", "show", "dev", "eth0"); !strings.Contains(got, "203.0.113.130/") {
			t.Errorf("the interface has %s", got)
		}
	})
	t.Run("enforce", func(t *testing.T) {
		c := start(t, "alice", "--network", "unit-enforce")
		e := c.endpoint(t, "unit-enforce")
		if got := must(t, "root", "nft", "list", "ruleset"); !strings.Contains(got, e.mac) {
			t.Errorf("no rule about %s:\n%s", e.mac, got)
		}
	})
}

// unitResources adds resources that are on no LAN of others, and alice's networks on them.
func unitResources(t *testing.T) {
	t.Helper()
	const bridge = `{"type": "bridge", "bridge": "unitbr0", "isGateway": true, "ipMasq": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "203.0.113.0/25"}]]}},
		{"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}, {"type": "sbr"},
		{"type": "portmap", "capabilities": {"portMappings": true}}`
	const tap = `{"type": "tap", "ipam": {"type": "static", "addresses": [{"address": "203.0.113.130/27"}]}}`
	const enforced = `{"type": "macvlan", "master": "unit0", "mode": "private", "ipam": {"type": "static", "addresses": [{"address": "203.0.113.200/27"}]}}`
	must(t, "root", "ip", "link", "add", "unit0", "up", "type", "veth", "peer", "name", "unit1")
	must(t, "root", "ip", "link", "set", "unit1", "up")
	names := map[string]string{"unit-bridge": bridge, "unit-tap": tap, "unit-enforce": enforced}
	t.Cleanup(func() {
		for name := range names {
			must(t, "alice", "podman", "network", "rm", "-f", name)
			must(t, "root", "rm", "-f", "/etc/net-porter/cni.d/"+name+".json")
		}
		must(t, "root", "rm", "-f", "/etc/net-porter/config.d/unit.json")
		must(t, "root", "systemctl", "reload", "net-porter.service")
		must(t, "root", "ip", "link", "del", "unit0")
		must(t, "root", "ip", "link", "del", "unitbr0")
	})
	var resources []string
	for name, plugins := range names {
		write(t, "/etc/net-porter/cni.d/"+name+".json", fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "plugins": [%s]}`, name, plugins))
		resources = append(resources, fmt.Sprintf(`{"name": %q, "allow_users": ["alice"], "enforce": %t}`, name, name == "unit-enforce"))
	}
	write(t, "/etc/net-porter/config.d/unit.json", `{"resources": [`+strings.Join(resources, ", ")+`]}`)
	must(t, "root", "systemctl", "reload", "net-porter.service")
	for name := range names {
		must(t, "alice", "podman", "network", "create", "-d", "net-porter", "-o", "net_porter_resource="+name, name)
	}
}

// write makes a file in the lab.
func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, "root", "sh", "-c", `mkdir -p "${1%/*}" && printf '%s\n' "$2" >"$1"`, "sh", path, text)
}
