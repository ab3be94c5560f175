package aclimport

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/server"
)

// rulesOf puts what is printed into force, and returns the rules by resource.
func rulesOf(t *testing.T, file *File) map[string]*policy.Resource {
	t.Helper()
	printed, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"config.json": `{"resources": []}`, "config.d/acl.json": string(printed)} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(dir + "/config.json")
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	rules := map[string]*policy.Resource{}
	for _, r := range server.Resolve(t.Context(), c.Resources, nss.New(), slog.New(slog.DiscardHandler)) {
		rules[r.Name] = r
	}
	return rules
}

// Users of every Linux system stand for alice and the others.
const (
	daemonUID, binUID, sysUID = 1, 2, 3
)

// What is printed means here what acl.d means there.
func TestItMeansTheSame(t *testing.T) {
	file, _ := Read(folder(t, map[string]string{
		"daemon.json": `{"grants": [{"resource": "dhcp"}, {"resource": "fixed", "ips": ["192.0.2.10-192.0.2.20", "2001:db8::1"]}], "groups": ["more"]}`,
		"bin.json":    `{"grants": [{"resource": "fixed", "ips": ["192.0.2.20-192.0.2.30"]}, {"resource": "fixed"}, {"resource": "macs", "macs": ["02:00:00:00:00:01"]}]}`,
		"sys.json":    `{"groups": ["more"]}`,
		"@more.json":  `{"grants": [{"resource": "fixed", "ips": ["198.51.100.1 - 198.51.100.9"]}, {"resource": "lan", "macs": ["02:00:00:00:01:00-02:00:00:00:01:ff"]}]}`,
		"@none.json":  `{"grants": [{"resource": "secret"}]}`,
	}))
	rules := rulesOf(t, file)
	for _, tt := range []struct {
		uid      uint32
		resource string
		ip, mac  string
		allowed  bool
	}{
		{daemonUID, "dhcp", "", "", true}, {binUID, "dhcp", "", "", false}, {sysUID, "dhcp", "", "", false}, {0, "dhcp", "", "", false},
		{daemonUID, "dhcp", "192.0.2.10", "", false}, {daemonUID, "dhcp", "", "02:00:00:00:01:00", false},
		{daemonUID, "fixed", "192.0.2.10", "", true}, {daemonUID, "fixed", "192.0.2.20", "", true}, {daemonUID, "fixed", "192.0.2.9", "", false},
		{daemonUID, "fixed", "192.0.2.21", "", false}, {daemonUID, "fixed", "2001:db8::1", "", true}, {daemonUID, "fixed", "2001:db8::2", "", false},
		{daemonUID, "fixed", "198.51.100.9", "", true}, {sysUID, "fixed", "198.51.100.1", "", true}, {sysUID, "fixed", "192.0.2.10", "", false},
		{binUID, "fixed", "192.0.2.30", "", true}, {binUID, "fixed", "192.0.2.10", "", false}, {binUID, "fixed", "198.51.100.1", "", false},
		{binUID, "macs", "", "", true}, {binUID, "macs", "", "02:00:00:00:00:01", true}, {binUID, "macs", "", "02:00:00:00:00:02", false}, {daemonUID, "macs", "", "", false},
		{daemonUID, "lan", "", "02:00:00:00:01:ff", true}, {sysUID, "lan", "", "02:00:00:00:02:00", false}, {sysUID, "lan", "192.0.2.10", "", false},
		{0, "fixed", "192.0.2.10", "", false}, {4242, "lan", "", "", false},
	} {
		var q policy.Request
		if tt.ip != "" {
			q.StaticIPs = []netip.Addr{netip.MustParseAddr(tt.ip)}
		}
		if tt.mac != "" {
			mac, err := net.ParseMAC(tt.mac)
			if err != nil {
				t.Fatal(err)
			}
			q.StaticMAC = mac
		}
		if d := policy.Attach(policy.Subject{UID: tt.uid}, rules[tt.resource], q); d.Allowed != tt.allowed {
			t.Errorf("%+v: %+v", tt, d)
		}
	}
	if rules["secret"] != nil {
		t.Error("a collection that nobody names gives somebody something")
	}
}

// Whatever is in the files: what is printed can be put into force, and gives no more than
// they do.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"grants": [{"resource": "lan", "ips": ["192.0.2.1-192.0.2.9", "192.0.2.5"], "macs": ["02:00:00:00:00:01"]}], "groups": ["c"]}`,
		`{"user": "bin", "grants": []}`, `{"group": 1}`, `{}`, `[`, `{"grants": [{"resource": "\u0000"}]}`, `{"grants": [{"resource": "a", "ips": ["::-ffff::"]}, {"resource": "a"}]}`,
	} {
		f.Add([]byte(seed), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, user, collection []byte) {
		dir := folder(t, map[string]string{"bin.json": string(user), "@c.json": string(collection)})
		file, findings := Read(dir)
		if file == nil {
			for _, finding := range findings {
				if finding.Severity == check.Error && finding.File != "" && finding.Message != "" {
					return
				}
			}
			t.Fatalf("nothing is printed, and nobody knows why: %v", findings)
		}
		granted := map[string]bool{}
		for _, data := range [][]byte{user, collection} {
			acl, err := config.ParseACL("acl", data)
			if err != nil {
				t.Fatalf("%v is an error, and something is printed", err)
			}
			for _, g := range acl.Grants {
				granted[g.Resource] = true
			}
		}
		for name, r := range rulesOf(t, file) {
			if !granted[name] {
				t.Errorf("%q is granted by nobody", name)
			}
			if policy.Use(policy.Subject{UID: sysUID}, r).Allowed {
				t.Errorf("%q is given to somebody who has no file", name)
			}
		}
	})
}
