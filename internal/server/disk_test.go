package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// disk is a file system of the test's own in its state folder.
func disk(t *testing.T, options string) string {
	t.Helper()
	testlab.RequireRoot(t)
	dir := t.TempDir()
	ok(t, unix.Mount("tmpfs", dir, "tmpfs", 0, options))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// Whichever of its files does not fit any more, an attach succeeds or leaves nothing.
func TestFullDiskAtEachFile(t *testing.T) {
	lan := testlab.NewLAN(t)
	for files, failed := 0, 0; ; files++ {
		// Its root and the folders of the daemon's, and so many more.
		d := start(t, setup{
			conflists: map[string]string{"lan": `{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"macvlan","master":"infra","ipam":` + dhcpIPAM + `}]}`},
			state:     disk(t, fmt.Sprintf("nr_inodes=%d", 5+files)),
		})
		s, dir := sandboxWithDir(t, alice)
		ns := container(t, s, dir)
		q := api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns}
		result, r := d.attach(s, "lan", q)
		if r.Status == http.StatusOK {
			if failed < 3 {
				t.Errorf("it succeeded with room for %d files: these cannot be all of them", files)
			}
			lan.Ping(netip.MustParsePrefix(result.Ips[0].Address).Addr())
			d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
			d.wantNothingLeft()
			return
		}
		failed++
		var says string
		for _, code := range []api.ProblemCode{api.Internal, api.CniFailed} {
			if strings.Contains(string(r.Body), `"`+string(code)+`"`) {
				says = wantProblem(t, r, code).Detail
			}
		}
		if says == "" || strings.Contains(says, d.state) {
			t.Errorf("with room for %d files the caller is told %s", files, r.Body)
		}
		t.Logf("with room for %d files: %s", files, says)
		if slices.Contains(s.Links(ns), "eth0") {
			t.Errorf("with room for %d files the interface is still there", files)
		}
		d.wantNothingLeft()
		lan.Server().WaitLeases(fmt.Sprintf("with room for %d files still has a lease", files), func(leases string) bool { return !strings.Contains(leases, "192.0.2.") })
		if t.Failed() || failed > 30 {
			t.Fatal("so it goes on")
		}
	}
}

// With a state folder that has become read-only nothing new is attached, and what is to
// go goes: all but the record, which is gone once it can be.
func TestReadOnlyState(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	state := disk(t, "")
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, state: state})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
	ok(t, unix.Mount("", state, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	other := container(t, s, dir)
	_, r := d.attach(s, "lan", api.AttachRequest{ContainerID: "other", InterfaceName: "eth0", Netns: other})
	if p := wantProblem(t, r, api.Internal); !strings.Contains(p.Detail, "read-only") || slices.Contains(s.Links(other), "eth0") {
		t.Errorf("the caller is told %q, and the container has %v", p.Detail, s.Links(other))
	}
	detach := api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}
	if p := wantProblem(t, d.detach(s, "lan", detach), api.Internal); !strings.Contains(p.Detail, "read-only") {
		t.Errorf("the caller is told %q", p.Detail)
	}
	if slices.Contains(s.Links(ns), "eth0") {
		t.Error("the interface is still there")
	}
	if list := d.attachments(s); len(list) != 1 || list[0].State != api.FailedDetach {
		t.Errorf("attachments are %+v", list)
	}
	ok(t, unix.Mount("", state, "", unix.MS_REMOUNT, ""))
	d.log.waitFor(t, "released an attachment")
	d.wantNothingLeft()
}
