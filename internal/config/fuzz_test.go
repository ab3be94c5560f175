package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
)

// rewrite writes a configuration as a file that leaves nothing to defaults that can be written.
func rewrite(c *Config) []byte {
	type m = map[string]any
	ids := func(list []Principal) []any {
		out := []any{}
		for _, p := range list {
			if p.Numeric {
				out = append(out, p.ID)
			} else {
				out = append(out, p.Name)
			}
		}
		return out
	}
	metrics := m{"listen": c.Metrics.Listen}
	if c.Metrics.WebConfigFile != "" {
		metrics["web_config_file"] = c.Metrics.WebConfigFile
	}
	resources := []m{}
	for _, r := range c.Resources {
		dhcp := m{"conflict_detection": r.DHCP.ConflictDetection}
		if r.DHCP.Timeout >= MinDHCPTimeout { // a shorter one comes of a short cni.timeout alone
			dhcp["timeout"] = r.DHCP.Timeout.String()
		}
		grants := []m{}
		for _, g := range r.Grants {
			grant := m{"users": ids(g.Users), "groups": ids(g.Groups), "static_ips": texts(g.StaticIPs), "static_macs": texts(g.StaticMACs)}
			addQuota(grant, "max_attachments", g.MaxAttachments)
			grants = append(grants, grant)
		}
		entry := m{"name": r.Name, "allow_users": ids(names(r.AllowUsers)), "allow_groups": ids(names(r.AllowGroups)), "grants": grants, "on_revoke": r.OnRevoke, "enforce": r.Enforce,
			"identity": r.Identity, "mac": r.MAC, "dhcp": dhcp, "ipv6_wait": r.IPv6Wait.String()}
		addQuota(entry, "max_attachments_per_user", r.MaxAttachmentsPerUser)
		resources = append(resources, entry)
	}
	level := map[int]string{-4: "debug", 0: "info", 4: "warn", 8: "error"}[int(c.Log.Level)]
	file := m{
		"domain_socket": m{"path": c.Socket.Path, "user": c.Socket.User, "group": c.Socket.Group,
			"mode": fmt.Sprintf("%04o", c.Socket.Mode)},
		"metrics":   metrics,
		"cni":       m{"config_dir": c.CNI.ConfigDir, "plugin_dirs": c.CNI.PluginDirs, "timeout": c.CNI.Timeout.String()},
		"state_dir": c.StateDir,
		"resources": resources,
		"limits": m{
			"connections_per_user": c.Limits.ConnectionsPerUser, "requests_per_user": c.Limits.RequestsPerUser, "rate_per_user": c.Limits.RatePerUser,
			"plugin_runs": c.Limits.PluginRuns, "plugin_runs_per_user": c.Limits.PluginRunsPerUser,
		},
		"log": m{"level": level, "format": c.Log.Format, "dump_env": m{"enabled": c.Log.DumpEnv}},
	}
	addQuota(file, "max_attachments_per_user", c.MaxAttachmentsPerUser)
	data, err := json.Marshal(file)
	if err != nil {
		panic(err)
	}
	return data
}

func addQuota(to map[string]any, key string, quota int) {
	if quota > 0 {
		to[key] = quota
	}
}

func names(list []Allowed) []Principal {
	var principals []Principal
	for _, a := range list {
		principals = append(principals, a.Principal)
	}
	return principals
}

func texts[T fmt.Stringer](ranges []T) []string {
	out := []string{}
	for _, r := range ranges {
		out = append(out, r.String())
	}
	return out
}

// withoutPlaces clears every Place.
func withoutPlaces(c *Config) *Config {
	for i := range c.Resources {
		r := &c.Resources[i]
		r.At = Place{}
		for _, list := range [][]Allowed{r.AllowUsers, r.AllowGroups} {
			for j := range list {
				list[j].At = Place{}
			}
		}
		for j := range r.Grants {
			r.Grants[j].At = Place{}
		}
	}
	return c
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"resources": []}`, `{"resources": [{"name": "a", "allow_user": [1, "2", "x\\y"], "allow_group": ["r"]}]}`,
		`{"domain_socket": {"path": "/a", "user": 0, "group": "g", "mode": "0660"}, "state_dir": "/s", "resources": []}`,
		`{"metrics": {"listen": ":9758", "web_config_file": "/w"}, "resources": [], "log": {"level": "warn", "dump_env": {"enabled": true}}}`,
		`{"cni": {"config_dir": "/c", "plugin_dirs": ["/p"], "timeout": "1.5s"}, "resources": []}`,
		`{"resources": [{"name": "a", "identity": "container-id", "mac": "random", "dhcp": {"timeout": "5s", "conflict_detection": false}, "ipv6_wait": "0"}]}`,
		`{"resources": [{"name": "a", "dhcp": {}}], "cni": {"timeout": "1.1s"}}`,
		`{"resources": [{"name": "a", "dhcp": {"timeout": "1m"}, "ipv6_wait": "9.9s"}], "cni": {"timeout": "2m"}}`,
		`{"max_attachments_per_user": 5, "resources": [{"name": "a", "max_attachments_per_user": 3, "grants": [{"users": ["u"], "groups": [7],
			"static_ips": ["192.0.2.64/28", "192.0.2.100-192.0.2.120", "2001:db8::/64"], "static_macs": ["02:00:00:aa:00:00-02:00:00:aa:00:ff"], "max_attachments": 8}]}]}`,
		`{"resources": [], "limits": {"connections_per_user": 4, "plugin_runs": 1, "rate_per_user": 1e3, "requests_per_user": -0}}`,
		"[\"\\ud83d\\ude00\", -1.5e+3, true, null, {\"a\": [[]]}]", "{\"a\": 1 // x\n}", "\xef\xbb\xbf{}", `"\ud800`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseSyntax("c", data); err == nil && !json.Valid(data) {
			t.Fatalf("accepted what is not JSON: %q", data)
		}
		c, err := Parse("c", data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || err.Error() == "" {
				t.Fatalf("%T is not an *Error", err)
			}
			return
		}
		again, err := Parse("c", rewrite(c))
		if err != nil {
			t.Fatalf("%q is refused when rewritten: %v", data, err)
		}
		if !reflect.DeepEqual(withoutPlaces(c), withoutPlaces(again)) {
			t.Fatalf("rewritten it means something else:\n%+v\n%+v", c, again)
		}
	})
}
