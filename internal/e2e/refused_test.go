package e2e

import (
	"slices"
	"testing"
)

// Networks that cannot work are refused when they are created, with a reason.
func TestCreateRefused(t *testing.T) {
	requireLab(t)
	t.Parallel()
	resource := []string{"-o", "net_porter_resource=macvlan-dhcp"}
	for _, test := range []struct {
		name  string
		user  string
		args  []string
		words []string
	}{
		{"internal", "alice", append([]string{"--internal"}, resource...), []string{"--internal", "leave it out"}},
		{"ipv6", "alice", append([]string{"--ipv6"}, resource...), []string{"--ipv6", "up to the resource"}},
		{"misspelt option", "alice", []string{"-o", "net_porter_resorce=macvlan-dhcp"}, []string{"net_porter_resorce", "did you mean net_porter_resource?"}},
		{"podman's option", "alice", append([]string{"-o", "parent=infra"}, resource...), []string{"option parent", "up to the resource"}},
		{"relative socket", "alice", append([]string{"-o", "net_porter_socket=net-porter.sock"}, resource...), []string{"absolute path", "/run/net-porter.sock"}},
		{"no such resource", "alice", []string{"-o", "net_porter_resource=nothing"}, []string{`no resource "nothing"`, "ask the administrator", "allow_users"}},
		{"no resource named", "alice", nil, []string{`no resource "refused"`}},
		{"somebody else's resource", "bob", []string{"-o", "net_porter_resource=macvlan-static"}, []string{`no resource "macvlan-static"`, "uid 1001"}},
		{"user who is allowed nothing", "carol", resource, []string{`no resource "macvlan-dhcp"`, "uid 1003", "net-porter networks", "log in again"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			command := slices.Concat([]string{"podman", "network", "create", "-d", "net-porter"}, test.args, []string{"refused"})
			refused(t, test.user, command, append(test.words, "net-porter: ")...)
			if r := lab(t, test.user, "podman", "network", "exists", "refused"); r.code == 0 {
				t.Error("the network is there all the same")
			}
		})
	}
}

// A user who is not on the resource's list gets nowhere with a network that was
// made when nobody was there to ask, either.
func TestUserNotAllowed(t *testing.T) {
	requireLab(t)
	t.Parallel()
	t.Cleanup(func() { must(t, "carol", "podman", "network", "rm", "-f", "sly") })
	// Podman reads a user's networks from files of theirs; nothing stops a user from
	// writing one.
	must(t, "carol", "sh", "-c", `
		podman network create -d bridge sly >/dev/null &&
		file=$(podman info -f '{{.Store.GraphRoot}}')/networks/sly.json && test -f "$file" &&
		jq '.driver = "net-porter" | del(.subnets, .network_interface) | .dns_enabled = false | .ipam_options = {driver: "none"} |
			.options = {net_porter_resource: "macvlan-dhcp"}' "$file" >"$file.new" && mv "$file.new" "$file"`)
	removeAfter(t, "carol", nameOf(t))
	refused(t, "carol", runArgs(nameOf(t), "--network", "sly"), `no resource "macvlan-dhcp"`, "allow_users")
}

// A user outside the socket's group learns which group, and that a new login is needed.
func TestUserOutsideGroup(t *testing.T) {
	requireLab(t)
	t.Parallel()
	t.Cleanup(func() { must(t, "mallory", "podman", "network", "rm", "-f", dhcpNet) })
	words := []string{"permission denied", "/run/net-porter.sock", "net-porter", "usermod -aG net-porter", "next login"}
	r := lab(t, "mallory", "podman", "network", "create", "-d", "net-porter", "-o", "net_porter_resource=macvlan-dhcp", dhcpNet)
	if r.code != 0 {
		t.Error("the network was not created; the daemon cannot be asked, and that is only a warning")
	}
	says(t, r, append(words, "warning")...)
	removeAfter(t, "mallory", nameOf(t))
	refused(t, "mallory", runArgs(nameOf(t), "--network", dhcpNet), words...)
}

// To be allowed to use a resource is no grant of an address of one's choice.
func TestStaticAddressRefused(t *testing.T) {
	requireLab(t)
	t.Parallel()
	for _, test := range []struct{ name, network, flag, value, says string }{
		{"address of the range", staticNet, "--ip", "192.0.2.210", "the address 192.0.2.210 is not granted to you on resource macvlan-static"},
		{"MAC", dhcpNet, "--mac-address", "02:00:00:00:00:01", "without --mac-address"},
		{"MAC where there is no DHCP", staticNet, "--mac-address", "02:00:00:00:00:01", "granted"},
		{"IPv6 address", dhcpNet, "--ip6", "2001:db8::7", "without --ip and --ip6"},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := nameOf(t)
			removeAfter(t, "alice", name)
			refused(t, "alice", runArgs(name, "--network", test.network, test.flag, test.value), test.says)
			first.unplugged(t, "02:00:00:00:00:01")
		})
	}
}
