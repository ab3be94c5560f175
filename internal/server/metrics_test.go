package server

import (
	"bytes"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
	"github.com/net-porter/net-porter/openapi"
)

// What an administrator alerts on is there after a success, a denial and a fault,
// and promtool has nothing to say against it.
func TestMetrics(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist, "void": ""}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	q := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}
	d.attach(s, "lan", q)
	static := q
	static.ContainerID, static.StaticIps = "other", []string{"192.0.2.9"}
	d.attach(s, "lan", static)
	m := mallory.Run(t)
	d.attach(m, "lan", q)
	d.attach(m, "made-up-by-mallory", q)
	d.get(s, "/nowhere")

	wantProblem(t, d.get(s, "/metrics"), api.NotPermitted)
	response := d.get(testlab.User{}.Run(t), "/metrics")
	if response.Status != http.StatusOK {
		t.Fatalf("%d %s", response.Status, response.Body)
	}
	text := string(response.Body)
	for _, line := range []string{
		`net_porter_requests_total{code="ok",operation="attach"} 1`,
		`net_porter_requests_total{code="resource-not-found",operation="attach"} 2`,
		`net_porter_requests_total{code="address-not-permitted",operation="attach"} 1`,
		`net_porter_requests_total{code="invalid-request",operation="other"} 1`,
		`net_porter_attach_duration_seconds_count{outcome="ok",resource="lan"} 1`,
		`net_porter_attach_duration_seconds_count{outcome="ok",resource="void"} 0`, // nobody has asked for it yet
		`net_porter_attach_failures_total{code="resource-unavailable",resource="void"} 0`,
		`net_porter_attach_failures_total{code="cni-failed",resource="lan"} 0`,
		`net_porter_denials_total{reason="not-owner"} 0`,
		`net_porter_denials_total{reason="not-listed"} 2`,
		`net_porter_denials_total{reason="static-address"} 1`,
		`net_porter_attachments{resource="lan"} 1`,
		`net_porter_plugin_run_duration_seconds_count{command="ADD",plugin="macvlan"} 1`,
		`net_porter_build_info{`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("missing: %s", line)
		}
	}
	if strings.Contains(text, "made-up-by-mallory") {
		t.Error("a caller can make time series")
	}
	promtool := exec.Command("promtool", "check", "metrics")
	promtool.Stdin = bytes.NewReader(response.Body)
	if out, err := promtool.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
}

// What everybody may ask is answered to everybody, as the document says.
func TestServicePaths(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	m := mallory.Run(t)
	if r := d.get(m, "/healthz"); r.Status != http.StatusOK {
		t.Errorf("/healthz: %d %s", r.Status, r.Body)
	}
	r := m.HTTP(d.socket, testlab.Request{Method: "GET", Path: "/openapi.yaml"})
	if r.Status != http.StatusOK || !bytes.Equal(r.Body, openapi.Document) {
		t.Errorf("/openapi.yaml: %d, %d bytes", r.Status, len(r.Body))
	}
}
