package server

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	containerID = "76a45e9e8a70b75a6ccaf4f7e40783ae5ed907ea112997065115c30bd2f21161"
	dhcpIPAM    = `{"type":"dhcp","request":[{"skipDefault":true,"option":"subnet-mask"}],"provide":[{"option":"host-name","fromArg":"K8S_POD_NAME"}]}`
)

// Every chain that the README names attaches, is told to the caller as it is, and
// leaves nothing when it is detached.
func TestChains(t *testing.T) {
	testlab.NewLAN(t)
	hostLocal := `{"type":"host-local","dataDir":"` + t.TempDir() + `","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.200","rangeEnd":"192.0.2.201"}]]}`
	static := `{"type":"static","addresses":[{"address":"192.0.2.50/24","gateway":"192.0.2.1"}],"routes":[{"dst":"0.0.0.0/0"}]}`
	macvlan := `{"type":"macvlan","master":"infra","ipam":` + static + `}`
	bridge := `{"type":"bridge","bridge":"np-test0","ipam":` + hostLocal + `}`
	tests := []struct{ name, plugins, prefix string }{
		{"macvlan and static", macvlan, "192.0.2.50/24"},
		{"macvlan and host-local", `{"type":"macvlan","master":"infra","ipam":` + hostLocal + `}`, "192.0.2.20"},
		{"macvlan and dhcp", `{"type":"macvlan","master":"infra","linkInContainer":false,"ipam":` + dhcpIPAM + `}`, "192.0.2."},
		{"bridge and host-local", bridge, "192.0.2.20"},
		{"bridge and dhcp", `{"type":"bridge","bridge":"np-test1","ipam":` + dhcpIPAM + `}`, "192.0.2."},
		{"tuning behind macvlan", macvlan + `,{"type":"tuning","sysctl":{"net.ipv4.conf.all.arp_notify":"1"}}`, "192.0.2.50/24"},
		{"sbr behind macvlan", macvlan + `,{"type":"sbr"}`, "192.0.2.50/24"},
		{"portmap behind bridge", bridge + `,{"type":"portmap","capabilities":{"portMappings":true},"backend":"nftables"}`, "192.0.2.20"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, setup{conflists: map[string]string{
				"lan": `{"cniVersion":"1.0.0","name":"lan","plugins":[` + tt.plugins + `]}`,
			}})
			if strings.Contains(tt.plugins, "np-test1") {
				bridgeOntoLAN(t, "np-test1")
			}
			s, dir := sandboxWithDir(t, alice)
			ns := container(t, s, dir)
			result, response := d.attach(s, "lan", api.AttachRequest{
				ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns,
				PortMappings: []api.PortMapping{{ContainerPort: 80, HostPort: 8080}},
			})
			if response.Status != http.StatusOK {
				t.Fatalf("attach: %d %s", response.Status, response.Body)
			}
			if len(result.Ips) != 1 || !strings.HasPrefix(result.Ips[0].Address, tt.prefix) {
				t.Errorf("addresses %v, want one that begins with %s", result.Ips, tt.prefix)
			}
			if len(result.Interfaces) != 1 || result.Interfaces[0].Name != "eth0" || result.Interfaces[0].Mac == "" {
				t.Errorf("interfaces %+v, want eth0 alone, with a MAC", result.Interfaces)
			}
			if !slices.Contains(s.Links(ns), "eth0") {
				t.Errorf("there is no eth0 in the container: %v", s.Links(ns))
			}
			again, response := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
			wantProblem(t, response, api.AlreadyAttached)
			_ = again
			for range 2 { // the second finds nothing, which is as good
				if r := d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusNoContent {
					t.Fatalf("detach: %d %s", r.Status, r.Body)
				}
			}
			if slices.Contains(s.Links(ns), "eth0") {
				t.Error("eth0 is still in the container")
			}
			d.wantNothingLeft()
		})
	}
}

// bridgeOntoLAN puts the LAN's parent link under a bridge, so that DHCP reaches it.
func bridgeOntoLAN(t *testing.T, name string) {
	t.Helper()
	for _, args := range [][]string{
		{"link", "add", name, "type", "bridge"}, {"link", "set", name, "up"}, {"link", "set", "infra", "master", name},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
}

// The documentation's conflist: the container's name reaches the DHCP server, the
// LAN's name servers reach the container, the server is told when it is over.
func TestDHCPLease(t *testing.T) {
	lan := testlab.NewLAN(t)
	d := start(t, setup{conflists: map[string]string{
		"lan": `{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"macvlan","master":"infra","linkInContainer":false,"ipam":` + dhcpIPAM + `}]}`,
	}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	result, response := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns})
	if response.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", response.Status, response.Body)
	}
	address := netip.MustParsePrefix(result.Ips[0].Address).Addr()
	lan.Ping(address)
	if !strings.Contains(lan.Leases(), address.String()+" web ") {
		t.Errorf("the server's leases do not name the container:\n%s", lan.Leases())
	}
	if !slices.Contains(result.DNS.Nameservers, "192.0.2.1") {
		t.Errorf("name servers %v, want the LAN's", result.DNS.Nameservers)
	}
	if result.Lease == nil || result.Lease.Server != "192.0.2.1" {
		t.Errorf("lease %+v, want one of the LAN's server", result.Lease)
	}
	if len(result.Routes) != 0 || result.Ips[0].Gateway != "" {
		t.Errorf("routes %v, gateway %q: skipDefault asks for none", result.Routes, result.Ips[0].Gateway)
	}
	d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	lan.WaitLog("DHCPRELEASE")
	d.wantNothingLeft()
}

// `podman network reload` detaches and attaches again in the same namespace, with
// the addresses that the container had as static ones, twice each.
func TestReloadKeepsAddresses(t *testing.T) {
	testlab.NewLAN(t)
	d := start(t, setup{conflists: map[string]string{
		"dhcp":  `{"cniVersion":"1.0.0","name":"dhcp","type":"macvlan","master":"infra","ipam":` + dhcpIPAM + `}`,
		"local": `{"cniVersion":"1.0.0","name":"local","type":"macvlan","master":"infra","ipam":{"type":"host-local","dataDir":"` + t.TempDir() + `","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.200","rangeEnd":"192.0.2.220"}]]}}`,
	}})
	s, dir := sandboxWithDir(t, alice)
	for _, resource := range []string{"dhcp", "local"} {
		t.Run(resource, func(t *testing.T) {
			ns := container(t, s, dir)
			q := api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns}
			before, _ := d.attach(s, resource, q)
			d.detach(s, resource, api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})

			q.StaticMac = before.Interfaces[0].Mac
			ip := netip.MustParsePrefix(before.Ips[0].Address).Addr().String()
			q.StaticIps = []string{ip, ip}
			elsewhere := q
			elsewhere.Netns = container(t, s, dir)
			_, response := d.attach(s, resource, elsewhere)
			wantProblem(t, response, api.AddressNotPermitted)
			other := q
			other.StaticIps = []string{"192.0.2.77"}
			_, response = d.attach(s, resource, other)
			wantProblem(t, response, api.AddressNotPermitted)

			after, response := d.attach(s, resource, q)
			if response.Status != http.StatusOK {
				t.Fatalf("reload: %d %s", response.Status, response.Body)
			}
			if after.Ips[0] != before.Ips[0] || after.Interfaces[0] != before.Interfaces[0] {
				t.Errorf("after the reload %+v %+v, before %+v %+v", after.Ips, after.Interfaces, before.Ips, before.Interfaces)
			}
			d.detach(s, resource, api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
		})
	}
	d.wantNothingLeft()
}

// What a caller sees in lists is theirs.
func TestListsAreTheCallers(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist, "broken": "", "noparent": strings.Replace(staticConflist, "infra", "absent0", 1)}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns})

	var networks api.NetworkList
	ok(t, json.Unmarshal(d.get(s, "/v1/networks").Body, &networks))
	ready := map[string]bool{}
	for _, n := range networks.Networks {
		ready[n.Name] = n.Ready
		if !n.Ready && n.Reason == "" {
			t.Errorf("%s is not ready and does not say why", n.Name)
		}
	}
	if len(ready) != 3 || !ready["lan"] || ready["broken"] || ready["noparent"] {
		t.Errorf("alice sees %v", ready)
	}
	var attachments api.AttachmentList
	ok(t, json.Unmarshal(d.get(s, "/v1/attachments").Body, &attachments))
	if len(attachments.Attachments) != 1 || attachments.Attachments[0].ContainerName != "web" {
		t.Errorf("alice's attachments: %+v", attachments)
	}
	m := mallory.Run(t)
	if got := string(d.get(m, "/v1/networks").Body); got != "{\"networks\":[]}\n" {
		t.Errorf("mallory sees networks: %s", got)
	}
	if got := string(d.get(m, "/v1/attachments").Body); got != "{\"attachments\":[]}\n" {
		t.Errorf("mallory sees attachments: %s", got)
	}
	// One that is not there and one that is not for the caller answer alike.
	there, absent := d.get(m, "/v1/networks/lan"), d.get(m, "/v1/networks/nal")
	wantProblem(t, there, api.ResourceNotFound)
	if strings.ReplaceAll(string(there.Body), "lan", "nal") != strings.ReplaceAll(string(absent.Body), "lan", "nal") {
		t.Errorf("the answers tell them apart:\n%s%s", there.Body, absent.Body)
	}
	root := testlab.User{}.Run(t)
	ok(t, json.Unmarshal(d.get(root, "/v1/attachments").Body, &attachments))
	if len(attachments.Attachments) != 1 {
		t.Errorf("root does not see alice's attachment")
	}
	wantProblem(t, d.get(root, "/v1/networks/lan"), api.ResourceNotFound)
	if r := d.detach(root, "lan", api.DetachRequest{ContainerID: "1000." + containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusNoContent {
		t.Errorf("root's detach: %d %s", r.Status, r.Body)
	}
	d.wantNothingLeft()
}
