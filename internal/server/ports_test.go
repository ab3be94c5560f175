package server

import (
	"math"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// With portmap in the chain the host's traffic goes where users say: they get no port
// that bind(2) would not give them.
func TestPublishedPorts(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	bridge := `{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"bridge","bridge":"np-test2","ipam":{"type":"static","addresses":[{"address":"192.0.2.50/24"}]}}`
	d := start(t, setup{conflists: map[string]string{
		"portmap": bridge + `,{"type":"portmap","capabilities":{"portMappings":true},"backend":"nftables"}]}`, "plain": staticConflist,
	}, users: []testlab.User{alice, eve}})
	database := must(net.Listen("tcp", "127.0.0.1:5432"))(t)
	defer database.Close()
	mdns := must(net.ListenPacket("udp4", "127.0.0.1:5353"))(t)
	defer mdns.Close()
	database6 := must(net.Listen("tcp6", "[::1]:5433"))(t)
	defer database6.Close()

	a, dir := sandboxWithDir(t, alice)
	ns := container(t, a, dir)
	first := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns, PortMappings: []api.PortMapping{{ContainerPort: 80, HostPort: 8080}}}
	if _, r := d.attach(a, "portmap", first); r.Status != http.StatusOK {
		t.Fatalf("a free port: %d %s", r.Status, r.Body)
	}
	e, evesDir := sandboxWithDir(t, eve)
	evesNS := container(t, e, evesDir)
	tests := []struct {
		name  string
		ports []api.PortMapping
		says  string
	}{
		{"root's", []api.PortMapping{{ContainerPort: 22, HostPort: 22}}, "root"},
		{"one of the host's own", []api.PortMapping{{ContainerPort: 1, HostPort: 5432}}, "5432/tcp"},
		{"one of the host's own, in a range", []api.PortMapping{{ContainerPort: 1, HostPort: 5430, Range: 5}}, "5432/tcp"},
		{"one of the host's own, on another address", []api.PortMapping{{ContainerPort: 1, HostPort: 5432, HostIP: "127.0.0.1"}}, "5432/tcp"},
		{"one of the host's own, of UDP", []api.PortMapping{{ContainerPort: 1, HostPort: 5353, Protocol: api.UDP}}, "5353/udp"},
		{"one of the host's own, of IPv6", []api.PortMapping{{ContainerPort: 1, HostPort: 5433}}, "5433/tcp"},
		{"one on an address that is not the host's", []api.PortMapping{{ContainerPort: 1, HostPort: 8081, HostIP: "203.0.113.9"}}, "203.0.113.9"},
		{"another user's", []api.PortMapping{{ContainerPort: 1, HostPort: 8080}}, "8080/tcp"},
		{"more than can be", []api.PortMapping{{ContainerPort: 1025, HostPort: 1025, Range: 64511}}, "ranges included"},
		{"more than can be added up", []api.PortMapping{{ContainerPort: math.MaxInt, HostPort: 1025, Range: 2}}, "ranges included"},
		{"fewer than none", []api.PortMapping{{ContainerPort: 1, HostPort: 1025, Range: math.MinInt}}, "ranges included"},
		{"beyond the last", []api.PortMapping{{ContainerPort: 1, HostPort: 65535, Range: 2}}, "65535"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, r := d.attach(e, "portmap", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: evesNS, PortMappings: tt.ports})
			if p := wantProblem(t, r, api.InvalidRequest); !strings.Contains(p.Detail, tt.says) {
				t.Errorf("the detail does not say %q: %s", tt.says, p.Detail)
			}
		})
	}
	// Where nothing is published, e.g. because -p is for another network, it does not matter.
	if _, r := d.attach(e, "plain", api.AttachRequest{
		ContainerID: containerID, InterfaceName: "eth0", Netns: evesNS, PortMappings: tests[0].ports,
	}); r.Status != http.StatusOK {
		t.Errorf("without portmap: %d %s", r.Status, r.Body)
	}
	d.detach(e, "plain", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: evesNS})
	d.detach(a, "portmap", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	d.wantNothingLeft()
}

// A kilobyte of JSON must not become gigabytes of port mappings.
func TestRangesAreBoundedBeforeTheyAreExpanded(t *testing.T) {
	ports := make([]api.PortMapping, maxPortMappings)
	for i := range ports {
		ports[i] = api.PortMapping{ContainerPort: 1025, HostPort: 1025, Range: 64511, Protocol: api.TCP}
	}
	for _, n := range []int{1, 64, maxPortMappings} {
		checked, err := checkPorts(ports[:n])
		ok(t, err) // where nothing is published, they do no harm
		allocated := testing.AllocsPerRun(1, func() { _, err = portMappings(checked, false) })
		if err == nil || allocated > 100 {
			t.Errorf("%d ranges: error %v after %.0f allocations", n, err, allocated)
		}
	}
}
