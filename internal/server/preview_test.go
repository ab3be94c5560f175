package server

import (
	"net/http"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/testlab"
)

// What would be is what is: the same answer in the same words.
func TestPreviewIsWhatAnAttachIsTold(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"fixed": dualStack}, users: []testlab.User{alice, eve},
		grants: map[string][]policy.Grant{"fixed": {grantOf(t, alice, "192.0.2.96/27", "198.51.100.0/24", "2001:db8::/64", "02:00:00:aa:00:00-02:00:00:aa:00:ff")}}})
	refused := 0
	for _, u := range []testlab.User{alice, eve, mallory} {
		s, dir := sandboxWithDir(t, u)
		ns := container(t, s, dir)
		for _, tt := range []struct {
			resource, mac string
			ips           []string
		}{
			{"fixed", "", nil}, {"absent", "", nil}, {"fixed", "", []string{"192.0.2.100"}}, {"fixed", "", []string{"192.0.2.100", "2001:db8::9"}}, {"fixed", "", []string{"192.0.2.3"}},
			{"fixed", "", []string{"198.51.100.1"}}, {"fixed", "", []string{"192.0.2.300"}}, {"fixed", "02:00:00:aa:00:01", nil}, {"fixed", "02:00:00:ab:00:01", nil}, {"fixed", "01:00:00:ab:00:01", nil},
		} {
			_, r := d.attach(s, tt.resource, api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns, StaticIps: tt.ips, StaticMac: tt.mac})
			decision, err := Preview(d.configuration.Resources, Question{UID: u.UID, GID: u.GID, Resource: tt.resource, IPs: tt.ips, MAC: tt.mac},
				func() (*cni.Network, error) { return cni.Load(d.confDir, "fixed") })
			if (r.Status == http.StatusOK) != (err == nil) || err == nil && !decision.Allowed {
				t.Errorf("uid %d, %+v: answered %d %s, and would be %+v, %v", u.UID, tt, r.Status, r.Body, decision, err)
				continue
			}
			if err == nil {
				d.detach(s, tt.resource, api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
				continue
			}
			refused++
			if p := wantProblem(t, r, problemOf(err).code); p.Detail != Explain(err) {
				t.Errorf("uid %d, %+v is told\n%s\nand would be\n%s", u.UID, tt, p.Detail, Explain(err))
			}
		}
	}
	if refused < 15 {
		t.Errorf("only %d were refused", refused)
	}
}
