package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// What README, guides and manual pages print works as printed, in the order printed. Images of
// docker.io are stood in for by ones of the lab, which has no way there.
func TestReadme(t *testing.T) {
	requireLab(t)
	for _, user := range []string{"alice", "bob"} {
		must(t, user, "bash", "-euc", `podman build -q -t docker.io/library/nginx:alpine - <<'END'
FROM localhost/bb
STOPSIGNAL KILL
CMD ["httpd", "-f"]
END`)
	}
	makeNet := []string{"podman", "network", "create", "--ignore", "-d", "net-porter", "-o", "net_porter_resource=macvlan-dhcp", "-o", "net_porter_socket=/run/net-porter.sock", dhcpNet}
	for _, d := range documents(t) {
		t.Run(d.name, func(t *testing.T) {
			if len(d.scripts) == 0 {
				return
			}
			t.Cleanup(func() { must(t, "alice", makeNet...) })
			if d.name == "README.md" || d.name == "net-porter-plugin.8" {
				// As on a machine that has none yet.
				must(t, "alice", "podman", "network", "rm", dhcpNet)
			}
			if prepare := stages[d.name]; prepare != nil {
				prepare(t)
			}
			for _, s := range d.scripts {
				out := must(t, s.user, "bash", "-euc", "exec 2>&1\n"+s.text)
				t.Logf("%s$ %s\n%s", s.user, s.text, out)
				if strings.Contains(out, "urn:net-porter:problem") || strings.Contains(out, "Error:") {
					t.Errorf("%s's commands were refused:\n%s\n%s", s.user, s.text, out)
				}
			}
			if left := attachments(t, "alice"); len(left) > 0 {
				t.Errorf("left attached: %v", left)
			}
		})
	}
}

// stages make what a document takes for granted, and remove it afterwards.
var stages = map[string]func(t *testing.T){
	"quadlet.md": func(t *testing.T) {
		examples, err := filepath.Abs("../../contrib/quadlet")
		if err != nil {
			t.Fatal(err)
		}
		const to = "/usr/share/doc/net-porter/examples/quadlet"
		must(t, "root", "mkdir", "-p", to)
		if err := script("push", examples, to); err != nil {
			t.Fatal(err)
		}
		// Quadlet's units wait for it, and nothing in the lab asks for it at boot.
		must(t, "root", "systemctl", "start", "network-online.target")
		t.Cleanup(func() {
			must(t, "root", "rm", "-r", "/usr/share/doc/net-porter")
			must(t, "alice", "sh", "-c", "rm .config/containers/systemd/lan.network .config/containers/systemd/web.container && systemctl --user daemon-reload")
		})
	},
	"moving.md": func(t *testing.T) {
		must(t, "root", "sh", "-euc", `
			mkdir /etc/net-porter/acl.d
			echo '{"grants": [{"resource": "home"}], "groups": ["fixed"]}' >/etc/net-porter/acl.d/alice.json
			echo '{"grants": [{"resource": "home", "ips": ["192.0.2.160-192.0.2.175"]}]}' >/etc/net-porter/acl.d/@fixed.json
			echo '{"cniVersion": "1.0.0", "name": "home", "plugins": [{"type": "macvlan", "master": "infra", "ipam": {"type": "dhcp"}}]}' >/etc/net-porter/cni.d/10-home.conflist`)
		t.Cleanup(func() {
			must(t, "root", "sh", "-euc", "cd /etc/net-porter && rm -r acl.d cni.d/home.conflist config.d/acl.json && systemctl reload net-porter")
		})
	},
}
