package server

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// A DEL that fails takes the interface away all the same, is shown with its reason until
// it works, and is tried again until it does.
func TestFailedDetachIsShownAndTriedAgain(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	mended := filepath.Join(testlab.PublicDir(t), "mended")
	d := start(t, setup{
		conflists: map[string]string{"lan": chained("fake")}, users: []testlab.User{alice, eve},
		pluginDirs: pluginDirs(t, "fake", `
			if test "$CNI_COMMAND" = ADD; then
				cat >/dev/null
				echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"'$CNI_NETNS'"}]}'
			elif test ! -e `+mended+`; then
				cat >/dev/null; echo '{"code":100,"msg":"the moon is full","details":"see /etc/moon.key"}'; exit 1
			fi`),
	})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	if _, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	detach := api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}
	if p := wantProblem(t, d.detach(s, "lan", detach), api.CniFailed); !strings.Contains(p.Detail, "the moon is full") {
		t.Errorf("the caller is told: %s", p.Detail)
	}
	if slices.Contains(s.Links(ns), "eth0") {
		t.Error("the interface is still there")
	}
	list := d.attachments(s)
	if len(list) != 1 || list[0].State != api.FailedDetach || list[0].Failure == nil {
		t.Fatalf("alice sees %+v", list)
	}
	if f := list[0].Failure; !strings.Contains(f.Error, "the moon is full") || strings.Contains(f.Error, "moon.key") ||
		f.Attempts < 1 || !f.NextTry.After(f.LastTry) {
		t.Errorf("alice is told %+v", f)
	}
	if list := d.attachments(testlab.User{}.Run(t)); len(list) != 1 || !strings.Contains(list[0].Failure.Error, "moon.key") {
		t.Errorf("root is told %+v", list)
	}
	e, _ := sandboxWithDir(t, eve)
	if list := d.attachments(e); len(list) > 0 {
		t.Errorf("eve sees %+v", list)
	}
	if got := d.metric(`net_porter_failed_detaches{resource="lan"}`); got != "1" {
		t.Errorf("failed detaches are counted as %q", got)
	}
	ok(t, os.WriteFile(mended, nil, 0o644))
	d.log.waitFor(t, "released an attachment")
	d.wantNothingLeft()
	if got := d.metric(`net_porter_releases_total{outcome="ok",resource="lan"}`); got != "1" {
		t.Errorf("releases are counted as %q", got)
	}
}

// attachments is what a caller sees of them.
func (d *daemon) attachments(from *testlab.Sandbox) []api.Attachment {
	d.t.Helper()
	var list api.AttachmentList
	ok(d.t, json.Unmarshal(d.get(from, "/v1/attachments").Body, &list))
	return list.Attachments
}

// metric is the value of a time series as root scrapes it, "" if it is not there.
func (d *daemon) metric(series string) string {
	d.t.Helper()
	for line := range strings.Lines(string(d.get(testlab.User{}.Run(d.t), "/metrics").Body)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
