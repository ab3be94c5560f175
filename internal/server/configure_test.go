package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/testlab"
)

// answer is a connection in memory.
type answer struct{ *httptest.ResponseRecorder }

func (answer) SetReadDeadline(time.Time) error  { return nil }
func (answer) SetWriteDeadline(time.Time) error { return nil }

// Two configurations take turns as fast as they can, of which one allows root a resource,
// and the other has no conflist for it and allows nobody. No request meets the rules of the
// one and the conflist of the other.
func TestRequestsTakeOneConfiguration(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	d.server.namespaces = failing{netns.ErrNotFound} // which comes after both
	one, other := d.configuration, d.configuration
	one.Resources = []*policy.Resource{policy.NewResource(policy.Rules{Name: "lan", Users: map[uint32]string{0: "allow_users root"}})}
	other.Resources, other.ConfigDir = []*policy.Resource{policy.NewResource(policy.Rules{Name: "lan"})}, t.TempDir()

	var reloads sync.WaitGroup
	over := make(chan struct{})
	reloads.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			default:
				_ = d.server.Configure([]Configuration{one, other}[i%2])
			}
		}
	})
	handler := d.server.Handler()
	ctx := peer.NewContext(t.Context(), peer.Identity{}) // root, who is not bounded
	const requests = 30_000
	codes := map[string]int{}
	for range requests {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/networks/lan/attach",
			strings.NewReader(`{"container_id":"c","interface_name":"eth0","netns":"/x"}`))
		r.Header.Set("Content-Type", "application/json")
		w := answer{httptest.NewRecorder()}
		handler.ServeHTTP(w, r)
		_, code, _ := strings.Cut(w.Body.String(), `"code":"`)
		code, _, _ = strings.Cut(code, `"`)
		codes[code]++
	}
	close(over)
	reloads.Wait()
	allowed, denied := codes[string(api.NetnsNotFound)], codes[string(api.ResourceNotFound)]
	if allowed == 0 || denied == 0 || allowed+denied != requests {
		t.Errorf("the answers were %v", codes)
	}
}

// changing calls change before it opens a namespace.
type changing struct {
	Namespaces
	change func()
}

func (c changing) Open(ctx context.Context, caller netns.Caller, path string) (*netns.Namespace, error) {
	c.change()
	return c.Namespaces.Open(ctx, caller, path)
}

// A configuration that comes into force in the middle of an attach, and takes the resource
// away, has no part in it: it is finished by the one with which it began, settings and all.
// If those say that it is not to outlive its user's right, it ends there.
func TestAttachIsFinishedByItsConfiguration(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	for _, detaches := range []bool{false, true} {
		d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, settings: map[string]Settings{"lan": {DetachOnRevoke: detaches}}})
		next := d.configuration
		next.Resources, next.Settings, next.ConfigDir = nil, nil, t.TempDir()
		d.server.namespaces = changing{d.server.namespaces, func() {
			ok(t, d.server.Configure(next))
			d.server.Revoke(t.Context()) // which sees nothing yet
		}}
		s, dir := sandboxWithDir(t, alice)
		q := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: container(t, s, dir)}
		_, r := d.attach(s, "lan", q)
		if detaches {
			wantProblem(t, r, api.ResourceNotFound)
			d.wantNothingLeft()
			continue
		}
		if r.Status != http.StatusOK {
			t.Fatalf("attach: %d %s", r.Status, r.Body)
		}
		if n := len(d.manager.List()); n != 1 {
			t.Errorf("there are %d records", n)
		}
		q.InterfaceName = "eth1"
		_, r = d.attach(s, "lan", q)
		wantProblem(t, r, api.ResourceNotFound)
		d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: q.Netns})
	}
}

// What of an attach is taken away in its middle may be an address alone.
func TestGrantThatIsTakenInTheMiddle(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{
		conflists: map[string]string{"fixed": dualStack}, settings: map[string]Settings{"fixed": {DetachOnRevoke: true}},
		grants: map[string][]policy.Grant{"fixed": {grantOf(t, alice, "192.0.2.96/27")}},
	})
	next := d.configuration
	next.Resources = []*policy.Resource{policy.NewResource(policy.Rules{Name: "fixed", Grants: []policy.Grant{grantOf(t, alice, "192.0.2.98")}})}
	d.server.namespaces = changing{d.server.namespaces, func() { ok(t, d.server.Configure(next)) }}
	s, dir := sandboxWithDir(t, alice)
	q := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: container(t, s, dir), StaticIps: []string{"192.0.2.97"}}
	for range 2 { // and what it never had is not there to be had again
		_, r := d.attach(s, "fixed", q)
		if p := wantProblem(t, r, api.AddressNotPermitted); !strings.Contains(p.Detail, "192.0.2.97 is not granted to you") {
			t.Errorf("alice reads %q", p.Detail)
		}
	}
	q.StaticIps = []string{"192.0.2.98"}
	if _, r := d.attach(s, "fixed", q); r.Status != http.StatusOK {
		t.Errorf("what she still may have: %d %s", r.Status, r.Body)
	}
}
