package e2e

import (
	"os"
	"strings"
	"testing"
)

// The network of contrib/compose as podman-compose makes it, by podman's command line, and
// as docker-compose does, by podman's API, which passes on no options of a driver: the
// labels are enough for either. Neither program is in the lab; this is what they ask for.
func TestCompose(t *testing.T) {
	requireLab(t)
	t.Parallel()
	text, err := os.ReadFile("../../contrib/compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, network, found := strings.Cut(string(text), "\nnetworks:\n  lan:\n    driver: net-porter\n    labels:\n")
	if !found {
		t.Fatalf("the example's network is not as this test knows it:\n%s", text)
	}
	flags, labels := []string{}, []string{}
	for line := range strings.Lines(network) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			t.Fatalf("not a label: %q", line)
		}
		flags = append(flags, "--label", key+"="+value)
		labels = append(labels, `"`+key+`":"`+value+`"`)
	}
	const ours = `"com.docker.compose.project":"shop","com.docker.compose.network":"lan",`
	for name, create := range map[string][]string{
		"shop_lan": append([]string{"podman", "network", "create", "--driver", "net-porter", "--label", "io.podman.compose.project=shop"}, append(flags, "shop_lan")...),
		"shopd_lan": {"sh", "-c", `
			socket=$(mktemp -u /run/user/$(id -u)/podman-XXXXXX)
			podman system service --time=0 unix://$socket & service=$!
			trap 'kill $service' EXIT
			curl -sS --fail-with-body --retry 20 --retry-delay 1 --retry-all-errors --unix-socket $socket -H 'Content-Type: application/json' -d "$0" http://localhost/v1.41/networks/create
		`, `{"Name":"shopd_lan","Driver":"net-porter","CheckDuplicate":true,"Labels":{` + ours + strings.Join(labels, ",") + `}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { must(t, "alice", "podman", "network", "rm", "-f", name) })
			must(t, "alice", create...)
			c := startNamed(t, "alice", strings.ReplaceAll(name, "_", "-"), "--network", name, "--network-alias", "web")
			c.remove(t, first, c.works(t, name, "eth0", first, dhcpRange))
		})
	}
}
