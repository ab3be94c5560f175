package server

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// A user who may use the resource names namespaces that are not theirs, or are none.
func TestNamespaceAttacks(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, users: []testlab.User{alice, eve}})
	victim, victimDir := sandboxWithDir(t, alice)
	alices := container(t, victim, victimDir)

	inHost, dir := eve.SandboxInHostNet(t), eve.Dir(t)
	inHost.BindMount("/proc/self/ns/net", dir+"/bound")
	inHost.Symlink("/proc/1/ns/net", dir+"/last")
	inHost.Symlink("/proc/1/ns", dir+"/middle")
	inHost.Symlink(dir+"/bound", dir+"/to-bound")
	inHost.WriteFile(dir+"/file", "x")
	inHost.Mkfifo(dir + "/fifo")
	inHost.Socket(dir + "/socket")
	inHost.Mkdir(dir + "/folder")

	before := links(t)
	tests := []struct {
		name, path string
		code       api.ProblemCode
	}{
		{"the host's, by a bind mount", dir + "/bound", api.NetnsNotOwned},
		{"the host's, by a link to the mount", dir + "/to-bound", api.NetnsNotOwned},
		{"the host's, by a link", dir + "/last", api.NetnsNotFound},
		{"the host's, by a link on the way", dir + "/middle/net", api.NetnsNotFound},
		{"process 1's", "/proc/1/ns/net", api.NetnsNotFound},
		{"their own, by a magic link", "/proc/self/ns/net", api.NetnsNotFound},
		{"the host's, with ..", dir + "/folder/../../../../../proc/1/ns/net", api.NetnsNotFound},
		{"out of the root, with ..", "/../../../proc/1/root/proc/1/ns/net", api.NetnsNotFound},
		{"another user's, by its path", alices, api.NetnsNotFound},
		{"another user's, by its process", fmt.Sprintf("/proc/%d/ns/net", victim.PID()), api.NetnsNotFound},
		{"another user's, through its root", fmt.Sprintf("/proc/%d/root%s", victim.PID(), alices), api.NetnsNotFound},
		{"a file", dir + "/file", api.NetnsNotFound},
		{"a FIFO", dir + "/fifo", api.NetnsNotFound},
		{"a socket", dir + "/socket", api.NetnsNotFound},
		{"a folder", dir + "/folder", api.NetnsNotFound},
		{"a device", "/dev/null", api.NetnsNotFound},
		{"nothing", dir + "/absent", api.NetnsNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, response := d.attach(inHost, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: tt.path})
			wantProblem(t, response, tt.code)
		})
	}
	if after := links(t); !slices.Equal(before, after) {
		t.Errorf("the host's links were %v and are %v", before, after)
	}
	if got := victim.Links(alices); slices.Contains(got, "eth0") {
		t.Errorf("alice's namespace got a link: %v", got)
	}
	d.wantNothingLeft()
}

// links are the names of the host's links.
func links(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, l := range must(net.Interfaces())(t) {
		names = append(names, l.Name)
	}
	return names
}

// Values that would mean something in a path, in CNI_ARGS or in a log.
func TestHostileValues(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	// What "../" out of the state folder's own would hit.
	victim := filepath.Join(filepath.Dir(d.state), "victim.json")
	ok(t, os.WriteFile(victim, []byte("precious"), 0o600))
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	hostile := []string{
		"../victim", "../../victim", "x/../../victim", "/etc/passwd", "a/b", "..", ".", "a;MAC=02:00:00:00:00:01;IP=192.0.2.66",
		"a=b", "a\nb", "a\x00b", "a b", "a@b", "-rf", strings.Repeat("a", 300), "é", "a\u202eb", "",
	}
	for _, value := range hostile {
		t.Run(fmt.Sprintf("%.20q", value), func(t *testing.T) {
			good := api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns}
			id, name, ifname := good, good, good
			id.ContainerID, name.ContainerName, ifname.InterfaceName = value, value, value
			for field, q := range map[string]api.AttachRequest{"container_id": id, "container_name": name, "interface_name": ifname} {
				if field == "container_name" && value == "" {
					continue // it may be left out
				}
				if field == "interface_name" && value == "-rf" {
					continue // a name that Linux and CNI take, and that is no option to anybody
				}
				_, response := d.attach(s, "lan", q)
				if p := wantProblem(t, response, api.InvalidRequest); !strings.Contains(p.Detail, field) {
					t.Errorf("the detail does not name %s: %s", field, p.Detail)
				}
			}
			wantProblem(t, d.detach(s, "lan", api.DetachRequest{ContainerID: value, InterfaceName: "eth0"}), api.InvalidRequest)
			if value != "-rf" {
				wantProblem(t, d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: value}), api.InvalidRequest)
			}
		})
	}
	for _, path := range []string{"/v1/networks/../attach", "/v1/networks/..%2f..%2fvictim/attach", "/v1/networks/%2e%2e/attach", "/v1/networks/lan%00/attach", "/v1/networks/" + strings.Repeat("a", 300) + "/attach"} {
		r := d.post(s, path, api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
		if r.Status < 400 || r.Header.Get("Content-Type") != api.ProblemMediaType {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
	if got := string(must(os.ReadFile(victim))(t)); got != "precious" {
		t.Errorf("a file outside the state folder was changed: %q", got)
	}
	if got := s.Links(ns); len(got) != 1 {
		t.Errorf("the container got links: %v", got)
	}
	d.wantNothingLeft()
}

// A user detaches another's container by its id, which is no secret.
func TestDetachOfAnothersContainer(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, users: []testlab.User{alice, eve}})
	a, dir := sandboxWithDir(t, alice)
	ns := container(t, a, dir)
	if _, r := d.attach(a, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	e, evesDir := sandboxWithDir(t, eve)
	for _, id := range []string{containerID, "1000." + containerID} {
		for _, path := range []string{"", ns, container(t, e, evesDir)} {
			if r := d.detach(e, "lan", api.DetachRequest{ContainerID: id, InterfaceName: "eth0", Netns: path}); r.Status != http.StatusNoContent {
				t.Errorf("detach: %d %s: it must look like there is nothing", r.Status, r.Body)
			}
		}
	}
	if !slices.Contains(a.Links(ns), "eth0") {
		t.Error("alice's interface is gone")
	}
	// The same id in eve's hands is another attachment.
	evesNS := container(t, e, evesDir)
	if _, r := d.attach(e, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: evesNS}); r.Status != http.StatusOK {
		t.Errorf("eve's own attach: %d %s", r.Status, r.Body)
	}
	d.detach(e, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: evesNS})
	if !slices.Contains(a.Links(ns), "eth0") {
		t.Error("alice's interface went with eve's")
	}
	d.detach(a, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	d.wantNothingLeft()
}

func TestHostileBodies(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	s := alice.Run(t)
	const path = "/v1/networks/lan/attach"
	bodies := map[string][]byte{
		"empty":            {},
		"not JSON":         []byte("container_id=x"),
		"cut short":        []byte(`{"container_id":"x"`),
		"an array":         []byte(`[]`),
		"a wrong type":     []byte(`{"container_id":1}`),
		"an unknown key":   []byte(`{"container_id":"x","interface_name":"eth0","netns":"/x","uid":0}`),
		"two values":       []byte(`{"container_id":"x","interface_name":"eth0","netns":"/x"}{}`),
		"too deep":         []byte(strings.Repeat("[", 20000)),
		"missing keys":     []byte(`{}`),
		"a relative netns": []byte(`{"container_id":"x","interface_name":"eth0","netns":"x"}`),
		"an option":        []byte(`{"container_id":"x","interface_name":"eth0","netns":"/x","options":{"mtu":"9000"}}`),
		"a broadcast MAC":  []byte(`{"container_id":"x","interface_name":"eth0","netns":"/x","static_mac":"ff:ff:ff:ff:ff:ff"}`),
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) { wantProblem(t, d.post(s, path, body), api.InvalidRequest) })
	}
	t.Run("10 MiB", func(t *testing.T) {
		// The daemon answers and hangs up without reading all: the answer may be lost on the way.
		out, err := s.Try("exec", "sh", "-c", "head -c 10485760 /dev/zero | curl -sS --unix-socket "+d.socket+
			" -H 'Content-Type: application/json' --data-binary @- http://localhost"+path)
		if err == nil && !strings.Contains(out, "larger than") {
			t.Errorf("10 MiB were answered %q", out)
		}
	})
	d.wantNothingLeft()
}

// One user's connections take nothing from another.
func TestIdleConnections(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	e := eve.Run(t)
	for range 500 {
		if _, err := e.Try("dial", d.socket); err != nil {
			t.Fatalf("connect: %v", err)
		}
	}
	a, dir := sandboxWithDir(t, alice)
	ns := container(t, a, dir)
	if _, r := d.attach(a, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
		t.Errorf("alice's attach: %d %s", r.Status, r.Body)
	}
	// Eve herself has none left, and is told so.
	out, err := e.Try("exec", "curl", "-sS", "--unix-socket", d.socket, "http://localhost/healthz")
	if err == nil && !strings.Contains(out, `"code":"busy"`) {
		t.Errorf("eve's next connection was answered %q", out)
	}
	e.Hangup()
	d.detach(a, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	d.wantNothingLeft()
}

// A page in a browser that is somehow led to the socket, e.g. by a proxy.
func TestBrowserTricks(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	s := alice.Run(t)
	for name, header := range map[string]http.Header{
		"Origin":       {"Origin": {"http://evil.example"}},
		"null Origin":  {"Origin": {"null"}},
		"empty Origin": {"Origin": {""}},
		"Referer":      {"Referer": {"http://localhost/"}},
		"Fetch":        {"Sec-Fetch-Site": {"cross-site"}},
		"Host":         {"Host": {"evil.example"}},
		"Host, port":   {"Host": {"evil.example:80"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, d.request(s, testlab.Request{Method: "GET", Path: "/v1/networks", Header: header}), api.NotPermitted)
		})
	}
	if r := d.request(s, testlab.Request{Method: "GET", Path: "/v1/networks", Header: http.Header{"Host": {"localhost"}}}); r.Status != http.StatusOK {
		t.Errorf("an honest request: %d", r.Status)
	}
	// A form can be posted anywhere without asking, but not as JSON.
	r := d.request(s, testlab.Request{Method: "POST", Path: "/v1/networks/lan/attach", Body: []byte("{}"), Header: http.Header{"Content-Type": {"text/plain"}}})
	wantProblem(t, r, api.InvalidRequest)
	wantProblem(t, d.get(s, "/v2/networks"), api.InvalidRequest)
	wantProblem(t, d.request(s, testlab.Request{Method: "DELETE", Path: "/v1/networks"}), api.InvalidRequest)
}

// Without the kernel's word on who calls nobody gets in, whatever the request says.
func TestNoIdentityNoEntry(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	l := must(net.Listen("unix", filepath.Join(testlab.PublicDir(t), "plain")))(t)
	h := &http.Server{Handler: d.server.Handler()}
	go func() { _ = h.Serve(l) }()
	defer h.Close()
	out := must(exec.Command("curl", "-sS", "--unix-socket", l.Addr().String(), "http://localhost/v1/networks").Output())(t)
	if !strings.Contains(string(out), `"code":"not-permitted"`) {
		t.Errorf("answered %s", out)
	}
}
