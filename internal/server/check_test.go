package server

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// What the container's root does to the interface is seen, by the kernel's word or by
// CNI CHECK; what it has not touched is well.
func TestCheckSeesDrift(t *testing.T) {
	testlab.NewLAN(t)
	hostLocal := `{"type":"host-local","dataDir":"` + t.TempDir() + `","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.200"}]]}`
	d := start(t, setup{conflists: map[string]string{
		"static": strings.Replace(staticConflist, `"lan"`, `"static"`, 1),
		"dhcp":   `{"cniVersion":"1.0.0","name":"dhcp","plugins":[{"type":"macvlan","master":"infra","ipam":` + dhcpIPAM + `}]}`,
		"local":  `{"cniVersion":"0.4.0","name":"local","plugins":[{"type":"macvlan","master":"infra","ipam":` + hostLocal + `},{"type":"tuning"}]}`,
		"old":    `{"cniVersion":"0.3.1","name":"old","plugins":[{"type":"macvlan","master":"infra","ipam":` + hostLocal + `}]}`,
	}, users: []testlab.User{alice, eve}})
	s, dir := sandboxWithDir(t, alice)
	for _, tt := range []struct {
		name, resource, change, says string
		unchecked                    bool
	}{
		{"static, untouched", "static", "", "", false},
		{"dhcp, untouched", "dhcp", "", "", false},
		{"host-local and tuning, untouched", "local", "", "", false},
		{"an address is gone", "static", "ip addr flush dev eth0", "macvlan", false},
		{"an address of dhcp is gone", "dhcp", "ip addr flush dev eth0", "macvlan", false},
		{"another MAC", "local", "ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99", "MAC address is 02:00:00:00:00:99", false},
		{"renamed", "static", "ip link set eth0 down; ip link set eth0 name lan0", `renamed to "lan0"`, false},
		{"removed", "static", "ip link del eth0", "no longer in the container", false},
		{"no CHECK in this version", "old", "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := container(t, s, dir)
			q := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}
			if _, r := d.attach(s, tt.resource, q); r.Status != http.StatusOK {
				t.Fatalf("attach: %d %s", r.Status, r.Body)
			}
			if tt.change != "" {
				s.Exec("nsenter", "--net="+ns, "sh", "-c", tt.change)
			}
			got := d.check(t, s, "1000."+containerID+"@eth0")
			drift := strings.Join(got.Drift, "; ")
			if got.Consistent != (tt.says == "") || got.Consistent != (drift == "") || !strings.Contains(drift, tt.says) ||
				tt.unchecked != (len(got.Unchecked) > 0) {
				t.Errorf("found %+v", got)
			}
			if strings.Contains(drift+strings.Join(got.Unchecked, ""), "/proc/") {
				t.Errorf("it tells of the daemon's own: %+v", got)
			}
			d.detach(s, tt.resource, api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
			s.Unmount(ns)
		})
	}
	d.wantNothingLeft()
}

// Another's attachment, one that is not there and nonsense are all the same to a caller.
func TestCheckIsForTheOwner(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, users: []testlab.User{alice, eve}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	id := "1000." + containerID + "@eth0"
	if got := d.check(t, testlab.User{}.Run(t), id); !got.Consistent {
		t.Errorf("root finds %+v", got)
	}
	e, _ := sandboxWithDir(t, eve)
	want := strings.ReplaceAll(wantProblem(t, d.post(e, "/v1/attachments/"+id+"/check", nil), api.AttachmentNotFound).Detail, id, "ID")
	for _, other := range []string{"1000.nothing@eth0", "1002." + containerID + "@eth0", "..%2f..%2fetc@eth0", "x", strings.Repeat("9", 300)} {
		p := wantProblem(t, d.post(e, "/v1/attachments/"+other+"/check", nil), api.AttachmentNotFound)
		if got := strings.ReplaceAll(p.Detail, other, "ID"); got != want && len(other) < 20 && !strings.Contains(other, "%") {
			t.Errorf("%s: %s, want %s", other, got, want)
		}
	}
}

// What host-local has given to nobody is seen by root, and removed; nobody else may.
func TestGarbageIsCollected(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	data := t.TempDir()
	d := start(t, setup{conflists: map[string]string{
		"local": `{"cniVersion":"1.0.0","name":"local","type":"macvlan","master":"infra","ipam":{"type":"host-local","dataDir":"` + data +
			`","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.200","rangeEnd":"192.0.2.210"}]]}}`,
	}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	result, _ := d.attach(s, "local", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	mine := filepath.Join(data, "local", strings.TrimSuffix(result.Ips[0].Address, "/24"))
	lost, foreign := filepath.Join(data, "local", "192.0.2.210"), filepath.Join(data, "local", "192.0.2.209")
	ok(t, os.WriteFile(lost, []byte("1000.lost\r\neth0"), 0o600))
	ok(t, os.WriteFile(foreign, []byte("0123456789abcdef\r\neth0"), 0o600))
	root := testlab.User{}.Run(t)
	wantProblem(t, d.post(s, "/v1/gc", api.GCRequest{DryRun: true}), api.NotPermitted)
	for _, dry := range []bool{true, false} {
		var got api.GCResult
		ok(t, json.Unmarshal(d.post(root, "/v1/gc", api.GCRequest{DryRun: dry}).Body, &got))
		if len(got.Items) != 1 || got.Items[0].ID != "1000.lost@eth0" || got.Items[0].Removed == dry || !strings.Contains(got.Items[0].What, "192.0.2.210") {
			t.Errorf("with dry_run %v: %+v", dry, got)
		}
		if _, err := os.Stat(lost); os.IsNotExist(err) == dry {
			t.Errorf("with dry_run %v: the file: %v", dry, err)
		}
	}
	for _, path := range []string{mine, foreign} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	d.detach(s, "local", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	d.wantNothingLeft()
}

func (d *daemon) check(t *testing.T, from *testlab.Sandbox, id string) api.CheckResult {
	t.Helper()
	r := d.post(from, "/v1/attachments/"+id+"/check", nil)
	var got api.CheckResult
	if err := json.Unmarshal(r.Body, &got); err != nil || r.Status != http.StatusOK {
		t.Fatalf("check: %d %s", r.Status, r.Body)
	}
	return got
}
