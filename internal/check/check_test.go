package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

// directory knows alice, bob and the group web, and does not answer for carol.
type directory struct{}

func (directory) UserByName(_ context.Context, name string) (nss.User, error) {
	switch name {
	case "root", "alice", "bob":
		return nss.User{Name: name, UID: uint32(len(name))}, nil
	case "carol":
		return nss.User{}, errors.New("the directory does not answer")
	}
	return nss.User{}, nss.ErrNotFound
}

func (directory) GroupByName(_ context.Context, name string) (nss.Group, error) {
	if name == "web" || name == "net-porter" {
		return nss.Group{Name: name, GID: 7}, nil
	}
	return nss.Group{}, nss.ErrNotFound
}

// folder writes files, conflists in cni.d among them, and returns the folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := testlab.PublicDir(t)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "plugins/") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// configuration is a config.json with these resources, all of whose paths are in DIR.
func configuration(resources string) string {
	return `{"state_dir": "DIR/state", "domain_socket": {"path": "DIR/s"}, "cni": {"config_dir": "DIR/cni.d", "plugin_dirs": ["DIR/plugins"]}, "resources": [` + resources + `]}`
}

func run(t *testing.T, dir string, host bool) *check.Report {
	t.Helper()
	return check.Run(t.Context(), check.Options{Path: dir + "/config.json", Names: directory{}, Host: host})
}

// said is what a report says, a line each, with the folder left out.
func said(r *check.Report, dir string) string {
	var lines []string
	for _, f := range r.Findings {
		lines = append(lines, strings.ReplaceAll(f.String(), dir+"/", ""))
	}
	return strings.Join(lines, "\n")
}

const (
	static    = `{"cniVersion":"1.0.0","name":"NAME","plugins":[{"type":"macvlan","master":"infra","ipam":{"type":"static","addresses":[{"address":"192.0.2.7/24"}]}}]}`
	hostLocal = `{"cniVersion":"1.0.0","name":"NAME","plugins":[{"type":"macvlan","master":"infra","ipam":{"type":"host-local","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.100","rangeEnd":"192.0.2.120"}],[{"subnet":"2001:db8::/64"}]]}}]}`
	dhcp      = `{"cniVersion":"1.0.0","name":"NAME","plugins":[{"type":"macvlan","master":"infra","ipam":{"type":"dhcp"}}]}`
)

func named(conflist, name string) string { return strings.Replace(conflist, "NAME", name, 1) }

// Each is found, is as bad as it is, and is told with where it was written.
func TestFindings(t *testing.T) {
	for _, tt := range []struct {
		name, resources string
		files           map[string]string
		want            string
	}{
		{"nothing", `{"name": "lan", "allow_users": ["alice"]}`, map[string]string{"cni.d/lan.json": named(static, "lan")}, ""},
		{"faults of all files at once", `{"name": "lan", "mac": "x"}`, map[string]string{"config.d/a.json": `{"resourcez": []}`},
			`config.d/a.json:1:2: error: unknown key "resourcez" (did you mean "resources"?)` + "\n" +
				`config.json:1:PLACE: error: resources[0].mac must be stable or random, not "x"`},
		{"unknown users", "{\"name\": \"lan\",\n\"allow_users\": [\"alice\",\n\"alyce\"],\n\"grants\": [{\"users\": [\"carol\"], \"groups\": [\"wep\"], \"max_attachments\": 1}]}",
			map[string]string{"cni.d/lan.json": named(static, "lan")},
			`config.json:3: warning: resource lan: allow_users: "alyce": a name in the configuration does not exist (yet) and allows nobody until the configuration is read again (systemctl reload net-porter)` + "\n" +
				`config.json:4: warning: resource lan: grants.users: "carol": a name in the configuration cannot be looked up and allows nobody until the configuration is read again (systemctl reload net-porter)` + "\n" +
				`config.json:4: warning: resource lan: grants.groups: "wep": a name in the configuration does not exist (yet) and allows nobody until the configuration is read again (systemctl reload net-porter)`},
		{"no conflist", "{\"name\": \"a\"},\n{\"name\": \"lan\"}", map[string]string{"cni.d/a.json": named(static, "a")},
			`config.json:2: error: resource lan: no network configuration: cni.d has no lan.conflist, .conf or .json (the resource cannot be used before there is one)`},
		{"a broken conflist", `{"name": "lan"}`, map[string]string{"cni.d/lan.json": "{\"cniVersion\": \"1.0.0\",\n}"},
			`cni.d/lan.json:2:1: error: resource lan: cannot use this network configuration: invalid character '}' looking for beginning of object key string (is there a comma too many, or a key without quotes?)`},
		{"the lease service's keys", `{"name": "lan"}`, map[string]string{"cni.d/lan.json": "{\"cniVersion\":\"1.0.0\",\"name\":\"lan\",\"type\":\"macvlan\",\"master\":\"infra\",\n\"ipam\":{\"type\":\"dhcp\",\"ipv5\":true}}"},
			`cni.d/lan.json:2:1: error: resource lan: ipam: invalid: there is no key "ipv5"; did you mean "ipv6" or "ipv4"?`},
		{"a parent in the container", `{"name": "lan"}`, map[string]string{"cni.d/lan.json": "{\"cniVersion\":\"1.0.0\",\"name\":\"lan\",\"plugins\":[{\"type\":\"ipvlan\",\"master\":\"eth0\",\n  \"LinkInContainer\":true}]}"},
			`cni.d/lan.json:1:47: error: resource lan: cannot use this network configuration: ipvlan has "linkInContainer": true, so that its parent link would be looked for in the container, which has none of the host's: take the key out` + "\n" +
				`cni.d/lan.json:2:3: warning: resource lan: the key "LinkInContainer" must be written "linkInContainer", although the plugin ipvlan takes it: other programs do not`},
		{"keys of plugins", `{"name": "lan"}`, map[string]string{"cni.d/lan.conflist": `{"cniVersion":"1.0.0","name":"lan","disableChek":true,"plugins":[
{"type":"macvlan","master":"infra","mod":"bridge","_why":1,"dns":{"nameserver":[]},"ipam":{
"type":"host-local","ranges":[[{"subnet":"192.0.2.0/24","range_start":"192.0.2.9"}]],"rutes":[]}},
{"type":"somebody-elses","xyz":1}]}`},
			`cni.d/lan.conflist:1:36: warning: resource lan: a list of plugins has no key "disableChek" and passes over it (did you mean "disableCheck"?)` + "\n" +
				`cni.d/lan.conflist:2:36: warning: resource lan: the plugin macvlan has no key "mod" and passes over it (did you mean "mode"?)` + "\n" +
				`cni.d/lan.conflist:2:67: warning: resource lan: the plugin macvlan has no key "nameserver" and passes over it (did you mean "nameservers"?)` + "\n" +
				`cni.d/lan.conflist:3:57: warning: resource lan: the plugin host-local has no key "range_start" and passes over it (did you mean "rangeStart"?)` + "\n" +
				`cni.d/lan.conflist:3:86: warning: resource lan: the plugin host-local has no key "rutes" and passes over it (did you mean "routes"?)`},
		{"no parent named", `{"name": "lan"}`, map[string]string{"cni.d/lan.json": `{"cniVersion":"1.0.0","name":"lan","type":"macvlan","ipam":{"type":"dhcp"}}`},
			`cni.d/lan.json:1:36: warning: resource lan: macvlan has no "master": CNI takes the link of the host's default route, whichever that is by then`},
		{"one name for two networks", `{"name": "a"}, {"name": "b"}`, map[string]string{"cni.d/a.json": named(static, "lan"), "cni.d/b.json": named(dhcp, "lan")},
			`cni.d/b.json:1:23: warning: resource b: the network's name is "lan", as that of resource a (cni.d/a.json) is, so that plugins keep the state of both in one place (give each a "name" of its own before it is used)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.files = mapWith(tt.files, "config.json", configuration(tt.resources))
			dir := folder(t, tt.files)
			want := strings.Replace(tt.want, "PLACE", fmt.Sprint(1+strings.Index(strings.ReplaceAll(configuration(tt.resources), "DIR", dir), `"x"`)), 1)
			report := run(t, dir, false)
			if got := strings.ReplaceAll(said(report, dir), dir, ""); got != strings.ReplaceAll(want, dir, "") {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if errors := strings.Count(want, ": error: "); report.Count(check.Error) != errors {
				t.Errorf("%d errors, want %d", report.Count(check.Error), errors)
			}
		})
	}
}

func mapWith(m map[string]string, key, value string) map[string]string {
	all := map[string]string{key: value}
	for k, v := range m {
		all[k] = v
	}
	return all
}

// Grants that cannot mean what they say.
func TestGrants(t *testing.T) {
	const others = "gives addresses of %s to others, too: one who asks for an address that another one has is refused"
	for _, tt := range []struct {
		name, conflist string
		grants         []string
		want           []string // of the warnings' texts
	}{
		{"apart", hostLocal, []string{
			`{"users": ["alice"], "static_ips": ["192.0.2.100-192.0.2.109", "2001:db8::/80"]}`, `{"users": ["bob"], "static_ips": ["192.0.2.110-192.0.2.120", "2001:db8:0:0:1::/80"]}`}, nil},
		{"two of one user's", hostLocal, []string{
			`{"users": ["alice", "bob"], "static_ips": ["192.0.2.100"]}`, `{"users": ["bob", "alice"], "static_ips": ["192.0.2.100-192.0.2.101"]}`}, nil},
		{"one address of two users", hostLocal, []string{
			`{"users": ["alice"], "static_ips": ["192.0.2.100-192.0.2.110"]}`, `{"users": ["bob"], "static_ips": ["192.0.2.120", "192.0.2.110"]}`},
			[]string{"the grant at config.json:3 " + fmt.Sprintf(others, "192.0.2.110")}},
		{"a user and a group", hostLocal, []string{
			`{"users": ["alice"], "static_macs": ["02:00:00:00:00:05"]}`, `{"groups": ["web"], "static_macs": ["02:00:00:00:00:00-02:00:00:00:00:ff"]}`},
			[]string{"the grant at config.json:3 " + fmt.Sprintf(others, "02:00:00:00:00:00-02:00:00:00:00:ff")}},
		{"one within one within one", hostLocal, []string{
			`{"users": ["alice"], "static_ips": ["192.0.2.0/24"]}`, `{"users": ["bob"], "static_ips": ["192.0.2.112/28"]}`, `{"groups": ["web"], "static_ips": ["192.0.2.113", "2001:db8::7"]}`},
			[]string{
				"the grant at config.json:3 " + fmt.Sprintf(others, "192.0.2.112-192.0.2.127"),
				"the grant at config.json:3 " + fmt.Sprintf(others, "192.0.2.113"), "the grant at config.json:4 " + fmt.Sprintf(others, "192.0.2.113")}},
		{"host-local gives those of its ranges", hostLocal, []string{`{"users": ["alice"], "static_ips": ["192.0.2.121-192.0.2.130", "2001:db8:0:1::/64", "192.0.2.120"]}`},
			[]string{
				"static_ips has 192.0.2.121-192.0.2.130, of which no address can be given: 192.0.2.121 is in none of the ranges from which this network gives addresses",
				"static_ips has 2001:db8:0:1::-2001:db8:0:1:ffff:ffff:ffff:ffff, of which no address can be given: 2001:db8:0:1:: is in none of the ranges from which this network gives addresses"}},
		{"static has networks", static, []string{`{"users": ["alice"], "static_ips": ["192.0.2.200", "192.0.3.1", "2001:db8::7"]}`},
			[]string{
				"static_ips has 192.0.3.1, of which no address can be given: 192.0.3.1 is in none of the networks whose addresses this one gives",
				"static_ips has 2001:db8::7, of which no address can be given: 2001:db8::7 is in none of the networks whose addresses this one gives"}},
		{"DHCP servers are asked for IPv4", dhcp, []string{`{"users": ["alice"], "static_ips": ["198.51.100.1", "2001:db8::7"]}`},
			[]string{"static_ips has 2001:db8::7, of which no address can be given: a DHCPv6 server is not asked for a certain address"}},
		{"DHCP for IPv6 alone", strings.Replace(dhcp, `"dhcp"`, `"dhcp","ipv6":true,"ipv4":false`, 1), []string{`{"users": ["alice"], "static_ips": ["198.51.100.1"]}`},
			[]string{`static_ips has 198.51.100.1, of which no address can be given: the network asks DHCP servers for IPv6 addresses alone ("ipv4": false)`}},
		{"another DHCP daemon", strings.Replace(dhcp, `"dhcp"`, `"dhcp","daemonSocketPath":"/run/cni/dhcp.sock"`, 1), []string{`{"users": ["alice"], "static_ips": ["198.51.100.1"]}`},
			[]string{"static_ips has 198.51.100.1, of which no address can be given: the network's addresses come from another DHCP daemon (daemonSocketPath), which cannot be asked for a certain one"}},
		{"no addresses at all", `{"cniVersion":"1.0.0","name":"NAME","plugins":[{"type":"macvlan","master":"infra"}]}`, []string{`{"users": ["alice"], "static_ips": ["198.51.100.1"]}`},
			[]string{"static_ips has 198.51.100.1, of which no address can be given: 198.51.100.1 cannot be given: the network has no IPv4 addresses of its own"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t, map[string]string{
				"config.json":    configuration("\n{\"name\": \"lan\", \"grants\": [\n" + strings.Join(tt.grants, ",\n") + "]}"),
				"cni.d/lan.json": named(tt.conflist, "lan"),
			})
			var got []string
			for _, f := range run(t, dir, false).Findings {
				if f.Severity != check.Warning || f.File != dir+"/config.json" || f.Line < 3 || f.Resource != "lan" {
					t.Errorf("%+v", f)
				}
				got = append(got, strings.ReplaceAll(f.Message, dir+"/", ""))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// Thousands of grants that have all in common are told of in some lines, and soon.
func TestManyOverlaps(t *testing.T) {
	var grants []string
	for i := range 5000 {
		grants = append(grants, fmt.Sprintf(`{"users": [%d], "static_ips": ["192.0.2.0/24"]}`, 1000+i))
	}
	dir := folder(t, map[string]string{
		"config.json": configuration(`{"name": "lan", "grants": [` + strings.Join(grants, ",") + `]}`), "cni.d/lan.json": named(static, "lan"),
	})
	findings := run(t, dir, false).Findings
	if len(findings) != 21 || !strings.Contains(findings[20].Message, "not shown") {
		t.Errorf("%d findings, the last of which is %v", len(findings), findings[len(findings)-1])
	}
}

// What scripts read has names that stay.
func TestFindingJSON(t *testing.T) {
	data, err := json.Marshal(check.Finding{Severity: check.Warning, File: "f", Line: 1, Column: 2, Resource: "lan", Message: "m", Hint: "h"})
	if want := `{"severity":"warning","file":"f","line":1,"column":2,"resource":"lan","message":"m","hint":"h"}`; err != nil || string(data) != want {
		t.Errorf("%s, %v", data, err)
	}
}
