package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// The resource of TestGrants is one that a file in config.d brings, as a package or a
// configuration manager would: addresses of both families, none of them for the taking.
const (
	grantedConf = `{"cniVersion": "1.0.0", "name": "granted", "plugins": [{"type": "macvlan", "master": "infra", "ipam": {"type": "static",
		"addresses": [{"address": "192.0.2.230/24", "gateway": "192.0.2.1"}, {"address": "2001:db8:1::230/64"}], "routes": [{"dst": "0.0.0.0/0"}]}}]}`
	grantedDropIn = `{"resources": [{"name": "granted", "max_attachments_per_user": 5,
		"grants": [{"users": ["%s"], "static_ips": ["192.0.2.231-192.0.2.234", "192.0.2.240/28", "2001:db8:1::/64"],
			"static_macs": ["02:00:00:aa:00:00-02:00:00:aa:00:ff"], "max_attachments": 2}]}]}`
)

// put writes a file of the administrator's into the lab.
func put(t testing.TB, path, text string) {
	t.Helper()
	must(t, "root", "sh", "-c", `mkdir -p "$(dirname "$0")" && printf %s "$1" >"$0.new" && mv "$0.new" "$0"`, path, text)
}

// grantTo has the drop-in grant to a user, and waits until that is in force.
func grantTo(t testing.TB, user string) {
	t.Helper()
	put(t, "/etc/net-porter/config.d/granted.json", fmt.Sprintf(grantedDropIn, user))
	must(t, "root", "systemctl", "reload", "net-porter.service")
	eventually(t, func() string {
		if out := must(t, user, "net-porter", "networks"); !strings.Contains(out, "granted") {
			return user + " does not see the resource: " + out
		}
		return ""
	})
}

// What is granted is given, what is not is refused, each with the message that the user
// sees; and a grant that is taken away is gone for what comes next.
func TestGrants(t *testing.T) {
	requireLab(t)
	t.Cleanup(func() {
		must(t, "root", "rm", "-f", "/etc/net-porter/config.d/granted.json", "/etc/net-porter/cni.d/granted.json")
		must(t, "root", "systemctl", "reload", "net-porter.service")
	})
	put(t, "/etc/net-porter/cni.d/granted.json", grantedConf)
	grantTo(t, "alice")
	create := func(name string, flags ...string) {
		t.Helper()
		t.Cleanup(func() { must(t, "alice", "podman", "network", "rm", "-f", name) })
		args := append([]string{"podman", "network", "create", "-d", "net-porter", "-o", "net_porter_resource=granted"}, flags...)
		must(t, "alice", append(args, name)...)
	}
	create("granted")
	const mac = "02:00:00:aa:00:01"
	wanted := netip.MustParseAddr("192.0.2.231")
	c := startNamed(t, "alice", "granted-one", "--network", "granted", "--ip", wanted.String(), "--ip6", "2001:db8:1::7", "--mac-address", mac)
	check := func() {
		t.Helper()
		if e := c.endpoint(t, "granted"); e.addr != wanted || e.mac != mac {
			t.Errorf("podman says that the container has %v", e)
		}
		if out := c.exec(t, "ip", "address", "show", "dev", "eth0"); !strings.Contains(out, "192.0.2.231/24") || !strings.Contains(out, "2001:db8:1::7/64") || !strings.Contains(out, mac) {
			t.Errorf("the container has\n%s", out)
		}
		first.reaches(t, wanted)
	}
	check()
	c.podman(t, "network", "reload")
	check()
	c.podman(t, "restart", "-t", "0")
	check()

	for _, test := range []struct{ flag, value, says string }{
		{"--ip", "192.0.2.235", "the address 192.0.2.235 is not granted to you on resource granted"},
		{"--ip6", "2001:db8:2::7", "the address 2001:db8:2::7 is not granted to you on resource granted"},
		{"--mac-address", "02:00:00:ab:00:00", "the MAC address 02:00:00:ab:00:00 is not granted to you"},
		{"--ip", wanted.String(), wanted.String() + " is held by another attachment of yours"},
		{"--mac-address", mac, mac + " is held by another attachment of yours"},
	} {
		removeAfter(t, "alice", "granted-not")
		refused(t, "alice", runArgs("granted-not", "--network", "granted", test.flag, test.value), test.says)
		must(t, "alice", "podman", "rm", "-f", "-i", "granted-not")
	}

	// Podman allocates, from a subnet whose addresses are granted.
	create("subnetted", "--subnet", "192.0.2.240/28")
	second := startNamed(t, "alice", "granted-two", "--network", "subnetted")
	if e := second.endpoint(t, "subnetted"); !netip.MustParsePrefix("192.0.2.240/28").Contains(e.addr) {
		t.Errorf("podman's own choice is %v", e)
	} else {
		first.reaches(t, e.addr)
	}
	removeAfter(t, "alice", "granted-three")
	refused(t, "alice", runArgs("granted-three", "--network", "granted", "--ip", "192.0.2.232"), "you have 2 attachments on resource granted, and may have no more", "max_attachments")
	must(t, "alice", "podman", "rm", "-f", "-i", "granted-three")
	create("outside", "--subnet", "192.0.2.16/28")
	second.podman(t, "rm", "-f", "-t", "0")
	removeAfter(t, "alice", "granted-out")
	refused(t, "alice", runArgs("granted-out", "--network", "outside"), "is not granted to you on resource granted", "without --subnet")

	// Revoked while it runs: what is attached stays, and is given back as ever.
	grantTo(t, "bob")
	check()
	removeAfter(t, "alice", "granted-late")
	refused(t, "alice", runArgs("granted-late", "--network", "granted", "--ip", "192.0.2.232"), `no resource "granted"`, "grants")
	c.podman(t, "rm", "-f", "-t", "0")
	first.unplugged(t, mac)
	if left := attachments(t, "alice"); strings.Contains(fmt.Sprint(left), "granted") {
		t.Errorf("left: %v", left)
	}
}
