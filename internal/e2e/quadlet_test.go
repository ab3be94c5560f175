package e2e

import "testing"

// Under systemd, as a service of the user's manager, and with the network made by it too.
func TestQuadlet(t *testing.T) {
	requireLab(t)
	t.Parallel()
	t.Cleanup(func() {
		must(t, "bob", "sh", "-c", "rm -f .config/containers/systemd/web.* && systemctl --user daemon-reload && podman network rm -f systemd-web")
	})
	must(t, "bob", "sh", "-c", `
		mkdir -p .config/containers/systemd && cd .config/containers/systemd &&
		printf '[Network]\nDriver=net-porter\nOptions=net_porter_resource=macvlan-dhcp\nOptions=net_porter_socket=/run/net-porter.sock\n' >web.network &&
		printf '[Container]\nContainerName=web\nImage=localhost/bb\nExec=sleep infinity\nStopSignal=KILL\nNetwork=web.network\n' >web.container &&
		systemctl --user daemon-reload`)
	removeAfter(t, "bob", "web")
	// Quadlet's units wait for it, and nothing in the lab asks for it at boot.
	must(t, "root", "systemctl", "start", "network-online.target")
	if r := lab(t, "bob", "systemctl", "--user", "start", "web.service"); r.code != 0 {
		t.Fatalf("%s\n%s", r.stderr, must(t, "root", "journalctl", "-n", "30", "-o", "cat", "_UID=1001"))
	}
	c := &container{user: "bob", name: "web", id: must(t, "bob", "podman", "inspect", "-f", "{{.Id}}", "web")}
	e := c.works(t, "systemd-web", "eth0", first, dhcpRange)
	first.leased(t, e, "web")
	since := first.log.now()
	must(t, "bob", "systemctl", "--user", "stop", "web.service")
	first.released(t, since, e)
	c.gone(t, first, e)
}
