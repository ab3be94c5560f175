package plugin

import (
	"context"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
)

const netnsPath = "/run/user/1000/netns/netns-0b1c"

// What netavark 1.x (null) and 2.x (absent) send for setup and teardown.
const (
	exec1x = `{"container_name":"web","container_id":"` + containerID + `","port_mappings":null,
		"network":{"created":"2026-03-01T10:00:00Z","dns_enabled":false,"driver":"net-porter","id":"` + networkID + `","internal":false,
			"ipv6_enabled":false,"name":"lan","network_interface":null,"options":{"net_porter_resource":"macvlan-dhcp","net_porter_socket":"SOCKET"},
			"ipam_options":null,"subnets":null,"routes":null,"network_dns_servers":null},
		"network_options":{"aliases":["2d0fe608dc86"],"interface_name":"eth0","static_ips":null,"static_mac":null,"options":null}}`
	exec2x = `{"container_name":"web","container_id":"` + containerID + `",
		"network":{"dns_enabled":false,"driver":"net-porter","id":"` + networkID + `","internal":false,"ipv6_enabled":false,"name":"macvlan-dhcp",
			"labels":{"net-porter.socket":"SOCKET"},"new":1},
		"network_options":{"aliases":["2d0fe608dc86"],"interface_name":"eth0","new":{}}}`
	execAll = `{"container_name":"web","container_id":"` + containerID + `",
		"port_mappings":[{"container_port":80,"host_ip":"","host_port":8080,"protocol":"tcp,UDP","range":2},
			{"container_port":53,"host_ip":"127.0.0.1","host_port":5353,"protocol":"","range":1}],
		"network":{"name":"lan","id":"x","driver":"net-porter","options":{"resource":"macvlan-dhcp","socket":"SOCKET"}},
		"network_options":{"interface_name":"eth0","static_ips":["192.0.2.10","192.0.2.10","2001:db8::1","2001:DB8:0::1"],
			"static_mac":"02:00:00:00:00:01","aliases":["alias1","an alias","\u0000","alias1","2d0fe608dc86","my-host.lan"],"options":{"speed":"fast"}}}`
)

func attached() api.AttachResult {
	return api.AttachResult{
		Interfaces: []api.Interface{{Name: "eth0", Mac: "02:00:00:00:00:01", Mtu: 1500}},
		Ips:        []api.IP{{Address: "192.0.2.10/24", Gateway: "192.0.2.1"}, {Address: "2001:db8::1/64"}},
		Routes:     []api.Route{{Destination: "0.0.0.0/0", Gateway: "192.0.2.1"}},
		DNS:        api.DNS{Nameservers: []string{"192.0.2.53"}, Search: []string{"lan.example"}},
	}
}

const attachedReply = `{"interfaces":{"eth0":{"mac_address":"02:00:00:00:00:01","subnets":[{"ipnet":"192.0.2.10/24","gateway":"192.0.2.1"},{"ipnet":"2001:db8::1/64"}]}},"dns_server_ips":["192.0.2.53"],"dns_search_domains":["lan.example"]}` + "\n"

func TestSetupAttaches(t *testing.T) {
	minimal := api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: netnsPath, Aliases: []string{"2d0fe608dc86"}}
	all := api.AttachRequest{
		ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: netnsPath,
		Hostname:  "my-host.lan",
		StaticIps: []string{"192.0.2.10", "2001:db8::1"},
		StaticMac: "02:00:00:00:00:01",
		Aliases:   []string{"alias1", "2d0fe608dc86", "my-host.lan"},
		PortMappings: []api.PortMapping{
			{ContainerPort: 80, HostPort: 8080, Protocol: api.TCP, Range: 2},
			{ContainerPort: 80, HostPort: 8080, Protocol: api.UDP, Range: 2},
			{ContainerPort: 53, HostPort: 5353, HostIP: "127.0.0.1"},
		},
		Options: map[string]string{"speed": "fast"},
	}
	for _, tt := range []struct {
		name, stdin string
		want        api.AttachRequest
	}{{"netavark 1.x", exec1x, minimal}, {"netavark 2.x", exec2x, minimal}, {"everything", execAll, all}} {
		t.Run(tt.name, func(t *testing.T) {
			d := startDaemon(t, "", answer(attached()))
			code, stdout, stderr := runPlugin(t, nil, document(d, tt.stdin), "setup", netnsPath)
			if code != 0 || stderr != "" || stdout != attachedReply {
				t.Fatalf("exit %d, stdout %s, stderr %s", code, stdout, stderr)
			}
			got := <-d.requests
			if got.method != "POST" || got.path != "/v1/networks/macvlan-dhcp/attach" || got.host != "localhost" {
				t.Errorf("called %s %s of %s", got.method, got.path, got.host)
			}
			if !reflect.DeepEqual(got.attach, tt.want) {
				t.Errorf("sent\n%+v, want\n%+v", got.attach, tt.want)
			}
		})
	}
}

func TestSetupTellsProblemsInPlainWords(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"denied", problem(404, api.ResourceNotFound, "there is no resource macvlan-dhcp that you may use; ask an administrator"), "net-porter: there is no resource macvlan-dhcp that you may use; ask an administrator"},
		{"terminal tricks", problem(502, api.CniFailed, "the plugin said: \x1b]0;gotcha\a\u202enope\r\nmore\xff"), "net-porter: the plugin said: ]0;gotchanope more\ufffd"},
		{"not a problem", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }, "HTTP 502 Bad Gateway); is it the daemon's socket?"},
		{"empty problem", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", api.ProblemMediaType)
			w.WriteHeader(500)
			_, _ = w.Write([]byte("{}"))
		}, "HTTP 500 Internal Server Error); is it the daemon's socket?"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "HTTP 302 Found); is it the daemon's socket?"},
		{"not JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("hello"))
		}, "gave no answer that can be used (invalid character"},
		{"far too much", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(make([]byte, 2*maxResponse))
		}, "the answer is longer than 1048576 bytes"},
		{"not HTTP", rawAnswer("220 lan.example ESMTP\r\n"), "gave no answer that can be used ("},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := startDaemon(t, "", tt.answer)
			code, stdout, stderr := runPlugin(t, nil, document(d, exec1x), "setup", netnsPath)
			text := errorText(t, stdout)
			if code != 1 || stderr != "" || !strings.HasPrefix(text, "net-porter: ") || !strings.Contains(text, tt.want) {
				t.Errorf("exit %d, stderr %q, error %q; want %q", code, stderr, text, tt.want)
			}
			if <-d.requests; len(d.requests) != 0 {
				t.Error("the request was sent again")
			}
		})
	}
}

// Netavark sends no teardown after a failed setup: whatever the plugin cannot pass on
// it must give back itself.
func TestSetupGivesBackWhatItCannotReply(t *testing.T) {
	tests := []struct {
		name   string
		change func(*api.AttachResult)
		want   string
	}{
		{"no such interface", func(r *api.AttachResult) { r.Interfaces[0].Name = "eth1" }, `net-porter: the daemon answered without the interface "eth0"`},
		{"MAC", func(r *api.AttachResult) { r.Interfaces[0].Mac = "x" }, `net-porter: the daemon answered the MAC address "x"`},
		{"address", func(r *api.AttachResult) { r.Ips[0].Address = "192.0.2.10" }, `net-porter: the daemon answered the address "192.0.2.10"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result := attached()
			tt.change(&result)
			d := startDaemon(t, "", func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/detach") {
					noContent(w, r)
					return
				}
				answer(result)(w, r)
			})
			code, stdout, stderr := runPlugin(t, nil, document(d, exec1x), "setup", netnsPath)
			if text := errorText(t, stdout); code != 1 || stderr != "" || !strings.HasPrefix(text, tt.want) {
				t.Errorf("exit %d, stderr %q, error %q", code, stderr, text)
			}
			<-d.requests
			want := api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: netnsPath}
			if got := <-d.requests; got.path != "/v1/networks/macvlan-dhcp/detach" || got.detach != want {
				t.Errorf("then sent %+v", got)
			}
		})
	}
}

func TestSetupReplyHoldsOnlyWhatNetavarkParses(t *testing.T) {
	result := attached()
	result.Ips = []api.IP{{Address: "192.0.2.10/24", Gateway: "fe80::1%eth0"}}
	result.DNS = api.DNS{Nameservers: []string{"dns.example", "fe80::1%eth0", "192.0.2.53"}, Domain: "lan.example", Search: nil}
	d := startDaemon(t, "", answer(result))
	_, stdout, _ := runPlugin(t, nil, document(d, exec1x), "setup", netnsPath)
	want := `{"interfaces":{"eth0":{"mac_address":"02:00:00:00:00:01","subnets":[{"ipnet":"192.0.2.10/24"}]}},"dns_server_ips":["192.0.2.53"],"dns_search_domains":["lan.example"]}` + "\n"
	if stdout != want {
		t.Errorf("replied %s", stdout)
	}
	result.Ips, result.DNS = nil, api.DNS{Search: []string{"a\nnameserver 203.0.113.1", ""}}
	d = startDaemon(t, "", answer(result))
	_, stdout, _ = runPlugin(t, nil, document(d, exec1x), "setup", netnsPath)
	want = `{"interfaces":{"eth0":{"mac_address":"02:00:00:00:00:01","subnets":[]}},"dns_server_ips":[],"dns_search_domains":[]}` + "\n"
	if stdout != want {
		t.Errorf("replied %s", stdout)
	}
}

func TestSetupGivesUpOnADaemonThatHangs(t *testing.T) {
	gone := make(chan struct{})
	d := startDaemon(t, "", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); close(gone) })
	code, stdout, _ := runPlugin(t, func(h *handler) { h.timeout = time.Second }, document(d, exec1x), "setup", netnsPath)
	if text := errorText(t, stdout); code != 1 || !strings.Contains(text, "did not answer within 1s") {
		t.Errorf("exit %d, %q", code, text)
	}
	<-gone
}

func TestTeardownDetaches(t *testing.T) {
	for _, stdin := range []string{exec1x, exec2x} {
		d := startDaemon(t, "", noContent)
		code, stdout, stderr := runPlugin(t, nil, document(d, stdin), "teardown", netnsPath)
		if code != 0 || stdout != "" || stderr != "" {
			t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
		}
		got := <-d.requests
		want := api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: netnsPath}
		if got.method != "POST" || got.path != "/v1/networks/macvlan-dhcp/detach" || got.detach != want {
			t.Errorf("sent %+v", got)
		}
	}
}

func TestTeardownOnlyWarns(t *testing.T) {
	broken := startDaemon(t, "", problem(500, api.Internal, "the disk is full"))
	absent := &daemon{socket: shortDir(t) + "/none"}
	tests := []struct {
		name, stdin, want string
	}{
		{"problem", document(broken, exec1x), "net-porter: warning: container web was not detached, the daemon will release what it had: the disk is full\n"},
		{"daemon down", document(absent, exec1x), "is net-porter running?"},
		{"bad network", document(absent, strings.ReplaceAll(exec1x, "macvlan-dhcp", "..")), `".." cannot be the name of a resource`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := runPlugin(t, nil, tt.stdin, "teardown", netnsPath)
			if code != 0 || stdout != "" || !strings.HasPrefix(stderr, "net-porter: warning: container web") || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}

func TestDetachLeavesOutANetnsThatIsNoPath(t *testing.T) {
	d := startDaemon(t, "", noContent)
	runPlugin(t, nil, document(d, exec1x), "teardown", "netns")
	if got := <-d.requests; got.detach.Netns != "" {
		t.Errorf("sent %+v", got.detach)
	}
}

func TestInterruptedSetupHangsUp(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	gone := make(chan struct{})
	d := startDaemon(t, "", func(_ http.ResponseWriter, r *http.Request) { interrupt(); <-r.Context().Done(); close(gone) })
	h := testHandler(os.Stderr)
	c, err := h.client(d.socket, patience)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.attach(ctx, "lan", api.AttachRequest{}); err != errInterrupted {
		t.Errorf("got %v", err)
	}
	<-gone
}
