package plugin

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
)

const networkID = "f1c3a5b7d9e0f1c3a5b7d9e0f1c3a5b7d9e0f1c3a5b7d9e0f1c3a5b7d9e0f1c3"

// podmanNetwork is what podman sends to create, with more members added or replaced.
func podmanNetwork(t *testing.T, members map[string]any) string {
	t.Helper()
	n := map[string]any{
		"name": "lan", "id": networkID, "driver": "net-porter", "created": "0001-01-01T00:00:00Z",
		"ipv6_enabled": false, "internal": false, "dns_enabled": true,
	}
	for k, v := range members {
		n[k] = v
	}
	data, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

type strs = map[string]string

func TestCreateFindsTheResource(t *testing.T) {
	tests := []struct {
		name            string
		options, labels strs // SOCKET is added as the socket's option
		socketLabel     bool
		want            string
		wantOptions     strs
	}{
		{name: "long option", options: strs{"net_porter_resource": "a"}, labels: strs{"net-porter.resource": "c"}, want: "a", wantOptions: strs{"net_porter_resource": "a"}},
		{name: "short option", options: strs{"resource": "b"}, want: "b", wantOptions: strs{"resource": "b"}},
		{name: "both alike", options: strs{"resource": "b", "net_porter_resource": "b"}, want: "b", wantOptions: strs{"resource": "b", "net_porter_resource": "b"}},
		{name: "label", labels: strs{"net-porter.resource": "c"}, want: "c", wantOptions: strs{"net_porter_resource": "c"}},
		{name: "network's name", want: "lan", wantOptions: strs{"net_porter_resource": "lan"}},
		{name: "labels only", labels: strs{"net-porter.resource": "c"}, socketLabel: true, want: "c", wantOptions: strs{"net_porter_resource": "c", "net_porter_socket": "SOCKET"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := startDaemon(t, "", answer(api.Network{Name: tt.want, Ready: true}))
			options, labels := strs{}, strs{"com.docker.compose.network": "x"}
			for k, v := range tt.options {
				options[k] = v
			}
			for k, v := range tt.labels {
				labels[k] = v
			}
			if tt.socketLabel {
				labels["net-porter.socket"] = d.socket
			} else {
				options["socket"] = d.socket
				tt.wantOptions["socket"] = "SOCKET"
			}
			code, stdout, stderr := runPlugin(t, nil, podmanNetwork(t, map[string]any{"options": options, "labels": labels}), "create")
			if code != 0 || stderr != "" {
				t.Fatalf("exit %d, stdout %s, stderr %s", code, stdout, stderr)
			}
			got := <-d.requests
			if got.method != "GET" || got.path != "/v1/networks/"+tt.want || got.host != "localhost" {
				t.Errorf("asked %+v", got)
			}
			var want, echo map[string]any
			wantOptions := strs{}
			for k, v := range tt.wantOptions {
				wantOptions[k] = document(d, v)
			}
			mustDecode(t, podmanNetwork(t, map[string]any{"options": wantOptions, "labels": labels, "dns_enabled": false}), &want)
			mustDecode(t, stdout, &echo)
			if g, w := mustEncode(t, echo), mustEncode(t, want); g != w {
				t.Errorf("echoed\n%s, want\n%s", g, w)
			}
		})
	}
}

func mustDecode(t *testing.T, s string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), into); err != nil {
		t.Fatalf("%v: %s", err, s)
	}
}

func mustEncode(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Podman then gives addresses itself, which the daemon checks one by one.
func TestCreateTakesSubnets(t *testing.T) {
	d := startDaemon(t, "", answer(api.Network{Name: "lan", Ready: true}))
	subnets := []any{map[string]any{"subnet": "192.0.2.0/24", "gateway": "192.0.2.1"}, map[string]any{"subnet": "2001:db8::/64"}}
	code, stdout, stderr := runPlugin(t, nil, podmanNetwork(t, map[string]any{
		"subnets": subnets, "ipv6_enabled": true, "ipam_options": strs{"driver": "host-local"}, "options": strs{"socket": d.socket},
	}), "create")
	if code != 0 || !strings.Contains(stdout, `"192.0.2.0/24"`) || !strings.Contains(stderr, "granted to you on the resource lan") {
		t.Errorf("exit status %d, %s%s", code, stdout, stderr)
	}
}

func TestCreateRejectsWhatCannotWork(t *testing.T) {
	options := func(kv ...string) map[string]any {
		o := strs{}
		for i := 0; i < len(kv); i += 2 {
			o[kv[i]] = kv[i+1]
		}
		return map[string]any{"options": o}
	}
	tests := []struct {
		name    string
		members map[string]any
		want    string
	}{
		{"internal", map[string]any{"internal": true}, "net-porter: --internal cannot be used"},
		{"route", map[string]any{"routes": []any{map[string]any{"destination": "192.0.2.0/24"}}}, "net-porter: --route cannot be used"},
		{"ipv6", map[string]any{"ipv6_enabled": true}, "net-porter: --ipv6 cannot be used"},
		{"interface", map[string]any{"network_interface": "eth0"}, "net-porter: --interface-name cannot be used: the parent interface comes from the resource"},
		{"dns", map[string]any{"network_dns_servers": []string{"192.0.2.1"}}, "net-porter: --dns cannot be used"},
		{"ipam dhcp", map[string]any{"ipam_options": strs{"driver": "dhcp"}}, "net-porter: --ipam-driver dhcp cannot be used"},
		{"ipam host-local", map[string]any{"ipam_options": strs{"driver": "host-local"}}, "net-porter: --ipam-driver host-local cannot be used"},
		{"podman's option", options("mtu", "9000"), "net-porter: the option mtu cannot be used: it is up to the resource"},
		{"parent", options("parent", "eth0"), "net-porter: the option parent cannot be used"},
		{"misspelt", options("net_porter_resourse", "a"), `net-porter: unknown option "net_porter_resourse"; did you mean net_porter_resource?`},
		{"dashes", options("net-porter-resource", "a"), `net-porter: unknown option "net-porter-resource"; did you mean net_porter_resource?`},
		{"misspelt socket", options("scoket", "a"), `net-porter: unknown option "scoket"; did you mean socket?`},
		{"unknown", options("color", "red"), `net-porter: unknown option "color"; there are net_porter_resource and net_porter_socket`},
		{"contradiction", options("resource", "a", "net_porter_resource", "b"), `net-porter: the options net_porter_resource="b" and resource="a" differ`},
		{"empty", options("resource", ""), "net-porter: the option resource has no value"},
		{"empty label", map[string]any{"labels": strs{"net-porter.resource": ""}}, "net-porter: the label net-porter.resource has no value"},
		{"dots", options("resource", ".."), `net-porter: ".." cannot be the name of a resource`},
		{"path", options("resource", "../attachments"), `net-porter: "../attachments" cannot be the name of a resource`},
		{"no name", map[string]any{"name": ""}, `net-porter: "" cannot be the name of a resource`},
		{"relative socket", options("socket", "unix:///run/x"), `net-porter: the socket must be an absolute path, such as /run/net-porter.sock; "unix:///run/x" is not`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, _ := runPlugin(t, nil, podmanNetwork(t, tt.members), "create")
			if text := errorText(t, stdout); code != 1 || !strings.HasPrefix(text, tt.want) {
				t.Errorf("exit %d, %q; want %q", code, text, tt.want)
			}
		})
	}
}

func TestCreateAcceptsIPAMNone(t *testing.T) {
	d := startDaemon(t, "", answer(api.Network{Name: "lan", Ready: true}))
	in := podmanNetwork(t, map[string]any{"ipam_options": strs{"driver": "none"}, "options": strs{"socket": d.socket}})
	if code, stdout, stderr := runPlugin(t, nil, in, "create"); code != 0 || stderr != "" {
		t.Errorf("exit %d, %s, %s", code, stdout, stderr)
	}
}

func TestCreateFailsOnlyWhereTheDaemonDenies(t *testing.T) {
	const detail = "there is no resource lan that you may use"
	tests := []struct {
		name    string
		answer  http.HandlerFunc
		err     string
		warning string
	}{
		{"not for this user", problem(404, api.ResourceNotFound, detail), "net-porter: " + detail, ""},
		{"not permitted", problem(403, api.NotPermitted, detail), "net-porter: " + detail, ""},
		{"busy", problem(503, api.Busy, "too much at once"), "", "net-porter: warning: the network is created, but it was not checked that you may use the resource lan: too much at once\n"},
		{"not ready", answer(api.Network{Name: "lan", Reason: "the parent interface infra\x1b[2J is missing"}), "", "net-porter: warning: the resource lan is not ready, containers cannot use it yet: the parent interface infra[2J is missing\n"},
		{"somebody else", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hello", http.StatusTeapot) }, "", "does not answer like net-porter (HTTP 418 I'm a teapot)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := startDaemon(t, "", tt.answer)
			code, stdout, stderr := runPlugin(t, nil, podmanNetwork(t, map[string]any{"options": strs{"socket": d.socket}}), "create")
			if tt.err != "" {
				if text := errorText(t, stdout); code != 1 || text != tt.err {
					t.Errorf("exit %d, %q, want %q", code, text, tt.err)
				}
				return
			}
			if code != 0 || !strings.Contains(stderr, tt.warning) || !strings.Contains(stdout, networkID) {
				t.Errorf("exit %d, stdout %s, stderr %s; want warning %q", code, stdout, stderr, tt.warning)
			}
		})
	}
}

func TestCreateWithoutDaemonWarns(t *testing.T) {
	socket := filepath.Join(shortDir(t), "none.sock")
	code, stdout, stderr := runPlugin(t, nil, podmanNetwork(t, map[string]any{"options": strs{"socket": socket}}), "create")
	want := "net-porter: warning: the network is created, but it was not checked that you may use the resource lan: cannot reach the daemon: there is no socket " + socket
	if code != 0 || !strings.HasPrefix(stderr, want) || !strings.Contains(stdout, networkID) {
		t.Errorf("exit %d, stdout %s, stderr %s", code, stdout, stderr)
	}
}

func TestCreateNamesAnOldNetavark(t *testing.T) {
	tests := []struct {
		script  string
		tooOld  bool
		comment string
	}{
		{"echo netavark 1.4.0", true, "Debian 12"},
		{"echo netavark 1.5.0-dev", true, ""},
		{"echo netavark 0.9.1", true, ""},
		{"echo netavark 1.6.0", false, ""},
		{"echo netavark 1.14.0", false, "Debian 13"},
		{"echo netavark 2.0.0-rc1", false, ""},
		{"echo hello", false, "cannot be told"},
		{"echo netavark 1.4.0; exit 1", false, "cannot be told"},
		{"exec sleep 1000", false, "never ends"},
		{"sleep 60 & echo netavark 1.4.0", false, "leaves a child that holds stdout"},
	}
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			d := startDaemon(t, "", answer(api.Network{Name: "lan", Ready: true}))
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "netavark"), []byte("#!/bin/sh\n"+tt.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			code, stdout, _ := runPlugin(t, func(h *handler) {
				h.netavarkDirs = []string{"/nonexistent", dir}
				h.netavarkTimeout = time.Minute // however busy the machine is
				if strings.Contains(tt.script, "sleep") {
					h.netavarkTimeout = time.Millisecond
				}
			},
				podmanNetwork(t, map[string]any{"options": strs{"socket": d.socket}}), "create")
			if !tt.tooOld {
				if code != 0 {
					t.Errorf("exit %d, %s", code, stdout)
				}
				return
			}
			if text := errorText(t, stdout); code != 1 || !strings.Contains(text, "netavark is too old for plugins: "+dir+"/netavark is version ") || !strings.Contains(text, "upgrade podman and netavark") {
				t.Errorf("exit %d, %q", code, text)
			}
		})
	}
}
