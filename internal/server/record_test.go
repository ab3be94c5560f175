package server

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/testlab"
)

var attribute = regexp.MustCompile(`([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)`)

// recordsOf reads the records of an event, or of all, out of a log of text.
func recordsOf(log string, event audit.Event) []map[string]string {
	var all []map[string]string
	for line := range strings.Lines(log) {
		r := map[string]string{}
		for _, m := range attribute.FindAllStringSubmatch(line, -1) {
			r[m[1]] = m[2]
			if value, err := strconv.Unquote(m[2]); err == nil {
				r[m[1]] = value
			}
		}
		if r[audit.Key] == event.String() {
			all = append(all, r)
		}
	}
	return all
}

// wantRecord waits for a record of an event that has some attributes, and returns it.
func (d *daemon) wantRecord(t *testing.T, event audit.Event, want map[string]string) (found map[string]string) {
	t.Helper()
	d.log.waitUntil(t, "there is no record of "+event.String()+" with "+mapText(want), func(log string) bool {
		for _, r := range recordsOf(log, event) {
			same := true
			for key, value := range want {
				same = same && r[key] == value
			}
			if same {
				found = r
			}
		}
		return found != nil
	})
	return found
}

func mapText(m map[string]string) string {
	var all []string
	for key, value := range m {
		all = append(all, key+"="+strconv.Quote(value))
	}
	return strings.Join(all, " ")
}

// Whatever is decided has its record: who, from where, what, by which rule, and what came
// of it.
func TestRecords(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{
		conflists: map[string]string{"lan": staticConflist, "fixed": dualStack}, users: []testlab.User{alice, eve},
		grants: map[string][]policy.Grant{"fixed": {grantOf(t, alice, "192.0.2.96/27")}},
	})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	m, e, root := mallory.Run(t), eve.Run(t), testlab.User{}.Run(t)
	own := must(os.ReadFile("/proc/" + strconv.Itoa(s.PID()) + "/cgroup"))(t)
	_, cgroup, _ := strings.Cut(string(own[strings.LastIndex(string(own), "\n0::")+1:]), "0::")

	q := api.AttachRequest{ContainerID: containerID, ContainerName: "web", InterfaceName: "eth0", Netns: ns}
	given, r := d.attach(s, "lan", q)
	if r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	inode := s.Exec("stat", "-Lc", "%i", ns)
	got := d.wantRecord(t, audit.Attach, map[string]string{
		"uid": "1000", "pid": strconv.Itoa(s.PID()), "operation": "attach", "resource": "lan", "container": containerID, "container_name": "web",
		"interface": "eth0", "netns": "net:[" + strings.TrimSpace(inode) + "]", "addresses": "192.0.2.50/24", "mac": given.Interfaces[0].Mac,
		"rules": "allow_users 1000", "configuration": "1", "outcome": "ok",
	})
	if strings.TrimSpace(cgroup) == "" || got["cgroup"] != strings.TrimSpace(cgroup) || got["duration"] == "" || got["denial"]+got["error"] != "" {
		t.Errorf("the record is %v, and the cgroup %q", got, cgroup)
	}

	d.attach(m, "lan", q)
	d.wantRecord(t, audit.Denied, map[string]string{"uid": "1001", "pid": strconv.Itoa(m.PID()), "operation": "attach", "resource": "lan", "denial": "not-listed", "outcome": "resource-not-found", "container_name": "web"})
	d.attach(e, "lan", q)
	d.wantRecord(t, audit.Denied, map[string]string{"uid": "1002", "denial": "netns", "rules": "allow_users 1002"})
	with := q
	with.StaticIps, with.StaticMac, with.InterfaceName = []string{"192.0.2.97", "192.0.2.7"}, "02:00:00:aa:00:01", "eth1"
	d.attach(s, "fixed", with)
	d.wantRecord(t, audit.Denied, map[string]string{
		"uid": "1000", "resource": "fixed", "denial": "static-address", "asked_ips": "192.0.2.97,192.0.2.7", "asked_mac": "02:00:00:aa:00:01", "outcome": "address-not-permitted",
	})
	with.StaticIps, with.StaticMac = []string{"192.0.2.97"}, ""
	d.attach(s, "fixed", with)
	if got := d.wantRecord(t, audit.Attach, map[string]string{"resource": "fixed", "asked_ips": "192.0.2.97"}); !strings.Contains(got["rules"], "; ") || !strings.Contains(got["addresses"], "192.0.2.97/") {
		t.Errorf("the record is %v", got)
	}
	d.attach(s, "lan", q)
	d.wantRecord(t, audit.Failed, map[string]string{"uid": "1000", "outcome": "already-attached", "operation": "attach"})
	d.post(s, "/v1/networks/"+url.PathEscape("x\nevent=attach uid=0 outcome=ok")+"/attach", q)
	d.wantRecord(t, audit.Denied, map[string]string{"uid": "1000", "resource": "x\nevent=attach uid=0 outcome=ok"})

	id := "1000." + containerID + "@eth0"
	d.check(t, s, id)
	d.wantRecord(t, audit.Check, map[string]string{"uid": "1000", "container": containerID, "resource": "lan", "consistent": "true"})
	d.post(m, "/v1/attachments/"+id+"/check", struct{}{})
	d.wantRecord(t, audit.Denied, map[string]string{"uid": "1001", "operation": "check", "owner_uid": "1000", "denial": "not-owner"})
	d.post(s, "/v1/gc", api.GCRequest{})
	d.wantRecord(t, audit.Denied, map[string]string{"uid": "1000", "operation": "gc", "denial": "not-root"})
	d.post(root, "/v1/gc", api.GCRequest{DryRun: true})
	d.wantRecord(t, audit.Collect, map[string]string{"uid": "0", "dry_run": "true", "removed": "0"})

	d.server.Handler().ServeHTTP(&recorder{header: http.Header{}}, must(http.NewRequestWithContext(
		peer.NewContext(t.Context(), peer.Identity{UID: 100007, Account: 1000}), "GET", "http://localhost/v1/networks", nil))(t))
	d.wantRecord(t, audit.Denied, map[string]string{"uid": "100007", "denial": "subordinate-uid", "operation": "request"})
	d.request(s, testlab.Request{Method: "GET", Path: "/v1/networks", Header: http.Header{"Origin": {"http://localhost"}}})
	d.wantRecord(t, audit.Denied, map[string]string{"uid": "1000", "denial": "browser"})

	// The next container of the key gets its own, and what the last one had is released.
	next := container(t, s, dir)
	q.Netns = next
	d.attach(s, "lan", q)
	d.wantRecord(t, audit.Release, map[string]string{"uid": "1000", "container": containerID, "interface": "eth0", "netns": got["netns"], "addresses": "192.0.2.50/24"})
	// Root removes what is somebody else's.
	d.detach(root, "lan", api.DetachRequest{ContainerID: "1000." + containerID, InterfaceName: "eth0"})
	d.wantRecord(t, audit.Detach, map[string]string{"uid": "0", "owner_uid": "1000", "container_name": "web", "addresses": "192.0.2.50/24", "outcome": "ok"})
	d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0"})
	// And what dies is released by the daemon.
	s.Unmount(ns)
	d.wantRecord(t, audit.Release, map[string]string{"uid": "1000", "resource": "fixed", "interface": "eth1", "netns": got["netns"]})
	if n := len(recordsOf(d.log.String(), audit.Detach)); n != 1 {
		t.Errorf("%d records of a detach, and there was one", n)
	}
}

// Each configuration has a number, and a decision has that by which it was made.
func TestRecordsTellTheConfiguration(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	s := alice.Run(t)
	for _, number := range []string{"1", "2"} {
		d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: "/" + number})
		d.wantRecord(t, audit.Denied, map[string]string{"configuration": number})
		ok(t, d.server.Configure(d.configuration))
	}
}

// Somebody who has an attachment of theirs checked again and again does not fill the log, and
// how often they did is told.
func TestChecksDoNotFloodTheLog(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	now := time.Unix(0, 0)
	d.server.checks = newRefusals(func() time.Time { return now })
	s, dir := sandboxWithDir(t, alice)
	_, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: container(t, s, dir)})
	wantStatus(t, "attach", r, http.StatusOK)
	for range 3 * refusalBurst {
		d.check(t, s, "1000."+containerID+"@eth0")
	}
	d.wantRecord(t, audit.Attach, nil)
	d.log.waitUntil(t, "there are not as many records", func(log string) bool {
		return len(recordsOf(log, audit.Check)) >= refusalBurst
	})
	d.server.logUnlogged(t.Context())
	d.wantRecord(t, audit.NotLogged, map[string]string{
		"uid": "1000", "of": "check", "not_logged_before": strconv.Itoa(2 * refusalBurst), "level": "INFO",
	})
	now = now.Add(time.Second)
	d.check(t, s, "1000."+containerID+"@eth0")
	d.log.waitUntil(t, "the next one has no record", func(log string) bool {
		return len(recordsOf(log, audit.Check)) == refusalBurst+1
	})
}

// What is refused beyond what is logged one by one is counted and told, whose it was
// and how much, whatever else the account does.
func TestRefusalsWithoutARecordAreTold(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	now := time.Unix(0, 0)
	d.server.denials, d.server.failures = newRefusals(func() time.Time { return now }), newRefusals(func() time.Time { return now })
	m := mallory.Run(t)
	const each = 3 * refusalBurst
	// Rubbish first, which takes nothing from the records of what is denied.
	for range each {
		d.post(m, "/v1/networks/lan/attach", []byte("{"))
	}
	for range each {
		d.attach(m, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: "/x"})
	}
	d.log.waitUntil(t, "there are not as many records", func(log string) bool {
		return len(recordsOf(log, audit.Denied)) == refusalBurst && len(recordsOf(log, audit.Failed)) == refusalBurst
	})
	told := func() map[string]string {
		t.Helper()
		before := len(recordsOf(d.log.String(), audit.NotLogged))
		d.server.logUnlogged(context.Background())
		by := map[string]string{}
		for _, r := range recordsOf(d.log.String(), audit.NotLogged)[before:] {
			by[r["uid"]+" "+r["of"]] += r["not_logged_before"]
		}
		return by
	}
	want := strconv.Itoa(each - refusalBurst)
	if got := told(); len(got) != 2 || got["1001 denied"] != want || got["1001 failed"] != want {
		t.Errorf("told was %v, want %s each", got, want)
	}
	if got := told(); len(got) != 0 {
		t.Errorf("told twice: %v", got)
	}
	// Of who is forgotten in favour of others the number stays.
	d.server.denials.allow(mallory.UID)
	for account := range uint32(maxBuckets) {
		now = now.Add(time.Nanosecond)
		d.server.denials.allow(account + 5000)
	}
	if got := told(); got[" denied"] != "1" {
		t.Errorf("told was %v", got)
	}
}
