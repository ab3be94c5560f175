package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// quadlets is where a user's Quadlets are, as the lab's users see it.
const quadlets = ".config/containers/systemd"

// labs are what the examples of contrib/quadlet have to have here in the place of the
// internet's images, what those do, and the addresses of somebody's home. A container
// without a command would end at once, and one that does not know SIGTERM is waited for.
var labs = strings.NewReplacer(
	"Image=docker.io/library/nginx:alpine", "Image=localhost/bb\nExec=sh -c 'echo works >/tmp/index.html && exec httpd -f -h /tmp'\nStopSignal=KILL",
	"Image=docker.io/library/redis:alpine", "Image=localhost/bb\nExec=sleep infinity\nStopSignal=KILL",
	"192.168.1.64", "192.0.2.170",
)

// Under systemd, as services of the user's manager: each example of contrib/quadlet is
// accepted by Quadlet's generator as it is shipped, and its container has its address.
func TestQuadlet(t *testing.T) {
	requireLab(t)
	t.Cleanup(func() {
		must(t, "bob", "sh", "-c", "rm -rf "+quadlets+" && systemctl --user daemon-reload && systemctl --user reset-failed")
		must(t, "bob", "podman", "network", "rm", "-f", "lan6")
	})
	files, err := filepath.Glob("../../contrib/quadlet/*")
	if err != nil || len(files) < 8 {
		t.Fatalf("there are %d examples (%v)", len(files), err)
	}
	examples := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples[filepath.Base(file)] = string(text)
	}
	install := func(change func(string) string) {
		t.Helper()
		must(t, "bob", "mkdir", "-p", quadlets)
		for name, text := range examples {
			must(t, "bob", "sh", "-c", `printf %s "$1" >"$0"`, quadlets+"/"+name, change(text))
		}
	}
	install(func(text string) string { return text })
	r := lab(t, "bob", "/usr/libexec/podman/quadlet", "-dryrun", "-user")
	if r.code != 0 || strings.Contains(r.stderr, "rror") || strings.Contains(r.stderr, "nsupported") {
		t.Fatalf("the generator does not take the examples: exit status %d: %s", r.code, r.stderr)
	}
	for name := range examples {
		// Each has become a unit, which names its source.
		if !strings.Contains(r.stdout, "SourcePath="+"/home/bob/"+quadlets+"/"+name+"\n") {
			t.Errorf("of %s nothing has been generated:\n%s", name, r.stdout)
		}
	}

	install(labs.Replace)
	put(t, "/etc/net-porter/config.d/quadlet.json",
		`{"grants": [{"resource": "macvlan-dhcp", "users": ["bob"], "static_macs": ["02:00:00:aa:00:01"]}]}`)
	t.Cleanup(func() {
		must(t, "root", "rm", "/etc/net-porter/config.d/quadlet.json")
		must(t, "root", "systemctl", "reload", "net-porter.service")
	})
	must(t, "root", "systemctl", "reload", "net-porter.service")
	must(t, "bob", "systemctl", "--user", "daemon-reload")
	// Quadlet's units wait for it, and nothing in the lab asks for it at boot.
	must(t, "root", "systemctl", "start", "network-online.target")

	web := startQuadlet(t, "web")
	webAt := web.works(t, dhcpNet, "eth0", first, dhcpRange)
	first.leased(t, webAt, "web")

	fixed := startQuadlet(t, "fixed")
	if e := fixed.works(t, dhcpNet, "eth0", first, [2]byte{170, 170}); e.mac != "02:00:00:aa:00:01" {
		t.Errorf("the MAC of choice has become %s", e.mac)
	}
	must(t, "bob", "podman", "healthcheck", "run", "fixed")
	if policy := must(t, "bob", "podman", "inspect", "-f", `{{index .Config.Labels "io.containers.autoupdate"}}`, "fixed"); policy != "registry" {
		t.Errorf("podman auto-update is told %q", policy)
	}

	both := startQuadlet(t, "both")
	both.works(t, dhcpNet, "lan", first, dhcpRange)
	both.works(t, "lan6", "lan6", second, dhcpRange)
	second.reaches(t, both.global6(t, "lan6"))

	// A pod's interface is its infra container's.
	must(t, "bob", "systemctl", "--user", "start", "shop-web.service", "shop-cache.service")
	infra := must(t, "bob", "podman", "pod", "inspect", "-f", "{{.InfraContainerID}}", "shop")
	shop := (&container{user: "bob", name: infra}).endpoint(t, dhcpNet)
	first.reaches(t, shop.addr)
	for _, name := range []string{"shop-web", "shop-cache"} {
		c := &container{user: "bob", name: name}
		if inside := c.exec(t, "ip", "-o", "-4", "addr", "show", "dev", "eth0"); !strings.Contains(inside, shop.addr.String()+"/24") {
			t.Errorf("%s has not the pod's address %s:\n%s", name, shop.addr, inside)
		}
		if out := c.exec(t, "wget", "-q", "-O", "-", "http://127.0.0.1/"); out != "works" {
			t.Errorf("in %s the pod's web server answers %q", name, out)
		}
	}

	// The next container of a unit is the same machine to the LAN.
	must(t, "bob", "systemctl", "--user", "restart", "web.service")
	if again := (&container{user: "bob", name: "web"}).endpoint(t, dhcpNet); again != webAt {
		t.Errorf("after a restart of the unit the container has %v, before it had %v", again, webAt)
	}
	web.id = must(t, "bob", "podman", "inspect", "-f", "{{.Id}}", "web")
	since := first.now(t)
	must(t, "bob", "systemctl", "--user", "stop", "web.service", "fixed.service", "both.service", "shop-pod.service")
	first.released(t, since, webAt)
	web.gone(t, first, webAt)
	for _, mac := range []string{"02:00:00:aa:00:01", shop.mac} {
		first.unplugged(t, mac)
	}
}

// startQuadlet starts the service of bob's container, which has its name.
func startQuadlet(t testing.TB, name string) *container {
	t.Helper()
	removeAfter(t, "bob", name)
	if r := lab(t, "bob", "systemctl", "--user", "start", name+".service"); r.code != 0 {
		t.Fatalf("%s\n%s", r.stderr, must(t, "root", "journalctl", "-n", "30", "-o", "cat", "_UID=1001"))
	}
	return &container{user: "bob", name: name, id: must(t, "bob", "podman", "inspect", "-f", "{{.Id}}", name)}
}

// global6 is the IPv6 address that DHCPv6 has given the container.
func (c *container) global6(t testing.TB, ifname string) netip.Addr {
	t.Helper()
	for _, word := range strings.Fields(c.exec(t, "ip", "-o", "-6", "addr", "show", "dev", ifname)) {
		if prefix, err := netip.ParsePrefix(word); err == nil && prefix.Bits() == 128 {
			return prefix.Addr()
		}
	}
	t.Fatalf("%s has no IPv6 address on %s", c.name, ifname)
	return netip.Addr{}
}
