package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/testlab"
)

// failing cannot open anything.
type failing struct{ err error }

func (f failing) Open(context.Context, netns.Caller, string) (*netns.Namespace, error) {
	return nil, fmt.Errorf("cannot open network namespace: %w", f.err)
}

// A detach goes on without the namespace only where it is certain that there is none
// to be had: what fails for a moment can be tried again, a half-done removal cannot.
func TestDetachWhoseNamespaceCannotBeOpened(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	opener := d.server.namespaces
	tests := []struct {
		err  error
		code api.ProblemCode // none: it goes on
	}{
		{netns.ErrTimeout, api.Timeout},
		{netns.ErrBusy, api.Busy},
		{fmt.Errorf("too many open files"), api.Internal},
		{netns.ErrNotFound, ""},
		{netns.ErrNotNetns, ""},
		{netns.ErrNotOwned, ""},
		{netns.ErrHostNamespace, ""},
		{netns.ErrInvalidPath, ""},
		{netns.ErrCallerGone, ""},
		{netns.ErrCallerHidden, ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.20s", tt.err), func(t *testing.T) {
			d.server.namespaces = opener
			d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
			d.server.namespaces = failing{tt.err}
			r := d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
			if tt.code != "" {
				wantProblem(t, r, tt.code)
			} else if r.Status != http.StatusNoContent {
				t.Errorf("detach: %d %s", r.Status, r.Body)
			}
			if there := slices.Contains(s.Links(ns), "eth0"); there != (tt.code != "") {
				t.Errorf("the interface is there: %v", there)
			}
		})
	}
	d.wantNothingLeft()
}

// Root names a container by its id, and two users have one.
func TestRootHasToSayWhose(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, users: []testlab.User{alice, eve}})
	for _, u := range []testlab.User{alice, eve} {
		s, dir := sandboxWithDir(t, u)
		if _, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: container(t, s, dir)}); r.Status != http.StatusOK {
			t.Fatalf("attach: %d %s", r.Status, r.Body)
		}
	}
	root := testlab.User{}.Run(t)
	q := api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0"}
	if p := wantProblem(t, d.detach(root, "lan", q), api.InvalidRequest); !strings.Contains(p.Detail, "<uid>.<container id>") {
		t.Errorf("the detail does not say how to name one: %s", p.Detail)
	}
	for left, id := range []string{"1000." + containerID, "1002." + containerID} {
		q.ContainerID = id
		if r := d.detach(root, "lan", q); r.Status != http.StatusNoContent {
			t.Errorf("detach of %s: %d %s", id, r.Status, r.Body)
		}
		if got := len(d.manager.List()); got != 1-left {
			t.Errorf("%d attachments are left after %s", got, id)
		}
	}
	d.wantNothingLeft()
}
