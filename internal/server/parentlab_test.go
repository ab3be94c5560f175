package server

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// parentLab is a daemon with two resources on parent links of their own, "lan" on infra
// and "other" on infra2, with addresses of host-local's, and "leased" on infra with DHCP.
type parentLab struct {
	*daemon
	lan  *testlab.LAN
	data string // host-local's
	s    *testlab.Sandbox
	dir  string
}

func newParentLab(t *testing.T) *parentLab {
	t.Helper()
	l := &parentLab{lan: testlab.NewLAN(t), data: t.TempDir()}
	testlab.NewLAN(t, testlab.WithParent("infra2"), testlab.WithoutServer())
	conflist := func(name, master, ipam string) string {
		return `{"cniVersion":"1.0.0","name":"` + name + `","plugins":[{"type":"macvlan","master":"` + master + `","ipam":` + ipam + `}]}`
	}
	local := `{"type":"host-local","dataDir":"` + l.data + `","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.210"}]]}`
	l.daemon = start(t, setup{conflists: map[string]string{
		"lan": conflist("lan", "infra", local), "other": conflist("other", "infra2", local), "leased": conflist("leased", "infra", dhcpIPAM),
	}, users: []testlab.User{alice, eve}})
	l.s, l.dir = sandboxWithDir(t, alice)
	return l
}

// parentBox is a container of alice's.
type parentBox struct {
	lab          *parentLab
	resource, ns string
	q            api.AttachRequest
}

func (l *parentLab) box(resource, id string) *parentBox {
	l.t.Helper()
	ns := container(l.t, l.s, l.dir)
	return &parentBox{l, resource, ns, api.AttachRequest{ContainerID: id, InterfaceName: "eth0", Netns: ns}}
}

func (b *parentBox) attach() api.AttachResult {
	b.lab.t.Helper()
	result, r := b.lab.daemon.attach(b.lab.s, b.resource, b.q)
	if r.Status != http.StatusOK || !slices.Contains(b.lab.s.Links(b.ns), "eth0") {
		b.lab.t.Fatalf("attach to %s: %d %s", b.resource, r.Status, r.Body)
	}
	return result
}

func (b *parentBox) detach() {
	b.lab.t.Helper()
	q := api.DetachRequest{ContainerID: b.q.ContainerID, InterfaceName: "eth0", Netns: b.ns}
	if r := b.lab.daemon.detach(b.lab.s, b.resource, q); r.Status != http.StatusNoContent {
		b.lab.t.Fatalf("detach from %s: %d %s", b.resource, r.Status, r.Body)
	}
}

// unavailable is what an attach is told that has to fail.
func (b *parentBox) unavailable(says string) {
	b.lab.t.Helper()
	_, r := b.lab.daemon.attach(b.lab.s, b.resource, b.q)
	if p := wantProblem(b.lab.t, r, api.ResourceUnavailable); !strings.Contains(p.Detail, says) {
		b.lab.t.Errorf("the problem does not say %q: %s", says, p.Detail)
	}
}

// wantFaults fails the test unless the attachment has one fault, which says all of it, as
// somebody sees it, or none if nothing is to be said.
func (b *parentBox) wantFaults(from *testlab.Sandbox, says ...string) string {
	b.lab.t.Helper()
	for _, a := range b.lab.attachments(from) {
		if a.ContainerID != b.q.ContainerID {
			continue
		}
		all := strings.Join(a.Faults, "; ")
		for _, part := range says {
			if !strings.Contains(all, part) {
				b.lab.t.Errorf("the faults of %s do not say %q: %s", a.ID, part, all)
			}
		}
		if len(a.Faults) != min(1, len(says)) {
			b.lab.t.Errorf("the faults of %s are %q", a.ID, a.Faults)
		}
		return all
	}
	b.lab.t.Errorf("there is no attachment of %s", b.q.ContainerID)
	return ""
}

func (l *parentLab) wantMetric(series, want string) {
	l.t.Helper()
	if got := l.metric(series); got != want {
		l.t.Errorf("%s is %q, want %s", series, got, want)
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// addresses are what host-local has given out on a resource.
func (l *parentLab) addresses(resource string) int {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(l.data, resource, "192.0.2.*"))
	ok(l.t, err)
	return len(files)
}
