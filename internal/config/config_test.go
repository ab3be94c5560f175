package config_test

import (
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/config"
)

// The example of the project's first documentation, with the comma that it lacks.
const seedExample = `{
  "domain_socket": {
    "path": "/run/net-porter.sock",
    "user": "root",
    "group": "net-porter"
  },
  "resources": [
    {
      "name": "macvlan-dhcp",
      "allow_user": ["podman"],
      "allow_groups": ["root"]
    }
  ],
  "log": {
    "dump_env": {
      "enabled": true
    }
  }
}
`

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("config.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := config.SchemaFault(t, text); err != nil {
		t.Errorf("the schema refuses what is right: %v", err)
	}
	return c
}

// withoutPlaces clears every Place, since files that mean the same are written differently.
func withoutPlaces(c *config.Config) *config.Config {
	for i := range c.Resources {
		r := &c.Resources[i]
		r.At = config.Place{}
		for _, list := range [][]config.Allowed{r.AllowUsers, r.AllowGroups} {
			for j := range list {
				list[j].At = config.Place{}
			}
		}
		for j := range r.Grants {
			r.Grants[j].At = config.Place{}
		}
	}
	return c
}

func allowed(principals ...config.Principal) []config.Allowed {
	var list []config.Allowed
	for _, p := range principals {
		list = append(list, config.Allowed{Principal: p})
	}
	return list
}

func TestSeedExample(t *testing.T) {
	want := &config.Config{
		Socket: config.Socket{Path: "/run/net-porter.sock", User: "root", Group: "net-porter", Mode: 0o660},
		CNI: config.CNI{
			ConfigDir:  "/etc/net-porter/cni.d",
			PluginDirs: []string{"/usr/lib/net-porter/cni", "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"},
			Timeout:    30 * time.Second,
		},
		StateDir: "/var/lib/net-porter",
		Resources: []config.Resource{{
			Name:        "macvlan-dhcp",
			AllowUsers:  allowed(config.Principal{Name: "podman"}),
			AllowGroups: allowed(config.Principal{Name: "root"}),
			OnRevoke:    config.RevokeKeep,
			Identity:    config.IdentityContainerName,
			MAC:         config.MACStable,
			DHCP:        config.DHCP{Timeout: 15 * time.Second, ConflictDetection: true},
		}},
		Limits: config.Limits{ConnectionsPerUser: 64, RequestsPerUser: 16, RatePerUser: 50, PluginRuns: 32, PluginRunsPerUser: 8},
		Log:    config.Log{Level: slog.LevelInfo, Format: "text", DumpEnv: true},
	}
	if got := withoutPlaces(parse(t, seedExample)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// As printed in that documentation the example lacks a comma after "allow_user".
func TestSeedExampleAsPrinted(t *testing.T) {
	printed := strings.Replace(seedExample, `["podman"],`, `["podman"]`, 1)
	_, err := config.Parse("/etc/net-porter/config.json", []byte(printed))
	const want = `/etc/net-porter/config.json:10:31: expected ',' or '}' after the value of "allow_user", ` +
		`found '"' on line 11 (a comma is probably missing here)`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	var e *config.Error
	if !errors.As(err, &e) || e.Line != 10 || e.Column != 31 {
		t.Errorf("not a *config.Error at 10:31: %#v", err)
	}
}

func TestEveryKey(t *testing.T) {
	got := parse(t, `{
		"domain_socket": {"path": "/srv/np//np.sock", "user": 0, "group": "1001", "mode": "666"},
		"metrics": {"listen": "[::1]:9758", "web_config_file": "/etc/net-porter/web.yaml"},
		"cni": {"config_dir": "/srv/cni.d/", "plugin_dirs": ["/opt/cni/bin"], "timeout": "1m30s"},
		"state_dir": "/srv/state",
		"resources": [
			{"name": "a", "allow_users": [1000, "1001", "DOM\\Jo Doe", "jo@example.com", "müller", "host$"], "allow_group": [4294967294],
				"on_revoke": "detach", "identity": "container-id", "mac": "random", "dhcp": {"timeout": "1m", "conflict_detection": false}, "ipv6_wait": "2.5s"},
			{"name": "B.2_x-y"}
		],
		"limits": {"connections_per_user": 4096, "requests_per_user": 100, "rate_per_user": 1, "plugin_runs": 256, "plugin_runs_per_user": 256},
		"log": {"level": "debug", "format": "json", "dump_env": {"enabled": false}}
	}`)
	want := &config.Config{
		Socket:   config.Socket{Path: "/srv/np/np.sock", User: "0", Group: "1001", Mode: 0o666},
		Metrics:  config.Metrics{Listen: "[::1]:9758", WebConfigFile: "/etc/net-porter/web.yaml"},
		CNI:      config.CNI{ConfigDir: "/srv/cni.d", PluginDirs: []string{"/opt/cni/bin"}, Timeout: 90 * time.Second},
		StateDir: "/srv/state",
		Resources: []config.Resource{
			{
				Name: "a",
				AllowUsers: allowed(config.Principal{ID: 1000, Numeric: true}, config.Principal{ID: 1001, Numeric: true}, config.Principal{Name: `DOM\Jo Doe`},
					config.Principal{Name: "jo@example.com"}, config.Principal{Name: "müller"}, config.Principal{Name: "host$"}),
				AllowGroups: allowed(config.Principal{ID: 4294967294, Numeric: true}),
				OnRevoke:    config.RevokeDetach,
				Identity:    config.IdentityContainerID, MAC: config.MACRandom,
				DHCP: config.DHCP{Timeout: time.Minute}, IPv6Wait: 2500 * time.Millisecond,
			},
			{
				Name: "B.2_x-y", OnRevoke: config.RevokeKeep, Identity: config.IdentityContainerName, MAC: config.MACStable,
				DHCP: config.DHCP{Timeout: 15 * time.Second, ConflictDetection: true},
			},
		},
		Limits: config.Limits{ConnectionsPerUser: 4096, RequestsPerUser: 100, RatePerUser: 1, PluginRuns: 256, PluginRunsPerUser: 256},
		Log:    config.Log{Level: slog.LevelDebug, Format: "json"},
	}
	if !reflect.DeepEqual(withoutPlaces(got), want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestNothingIsAllowedUnlessWritten(t *testing.T) {
	if c := parse(t, `{"resources": []}`); c.Resources == nil || len(c.Resources) != 0 {
		t.Errorf("resources are %#v", c.Resources)
	}
	for _, text := range []string{`{"name": "a"}`, `{"name": "a", "allow_users": [], "allow_groups": []}`} {
		r := parse(t, `{"resources": [`+text+`]}`).Resources[0]
		if len(r.AllowUsers)+len(r.AllowGroups) != 0 {
			t.Errorf("%s allows %v %v", text, r.AllowUsers, r.AllowGroups)
		}
	}
}

// A limit that is lowered needs no second key to go with it.
func TestLimitsOfOneFollowTheLimitsOfAll(t *testing.T) {
	got := parse(t, `{"resources": [], "limits": {"plugin_runs": 2, "connections_per_user": 5}}`).Limits
	if want := (config.Limits{ConnectionsPerUser: 5, RequestsPerUser: 5, RatePerUser: 50, PluginRuns: 2, PluginRunsPerUser: 2}); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestPrincipalString(t *testing.T) {
	for want, p := range map[string]config.Principal{
		"alice": {Name: "alice"}, "0": {Numeric: true}, "4294967294": {ID: 4294967294, Numeric: true},
	} {
		if p.String() != want {
			t.Errorf("got %q, want %q", p, want)
		}
	}
}

func TestSeveralErrorsInTheOrderOfTheFile(t *testing.T) {
	_, err := config.Parse("c", []byte(`{"log": {"level": "loud"},
"state_dir": "rel", "resourcess": 1,
"metrics": {"listen": 1}}`))
	want := strings.Join([]string{
		`c:1:1: the key "resources" is missing`,
		`c:1:19: log.level must be debug, info, warn or error, not "loud"`,
		`c:2:14: state_dir must be an absolute path, not "rel" (write it from the root, starting with '/')`,
		`c:2:21: unknown key "resourcess" (did you mean "resources"?)`,
		`c:3:23: metrics.listen must be a string, not the number 1 (put it in quotes)`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var first *config.Error
	if !errors.As(err, &first) || first.Line != 1 {
		t.Errorf("errors.As does not find the first fault: %v", first)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	text := `{"resources": [` + strings.Repeat(`{"x": 1},`, 5000) + `{"name": "a"}]}`
	_, err := config.Parse("c", []byte(text))
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || lines[20] != "c: more errors follow; they are not shown" {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}
