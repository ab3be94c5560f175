package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/config"
)

// files puts files below a folder and returns the path of config.json in it.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "config.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config.json")
}

// A package brings a resource, and a configuration manager grants on the administrator's.
func TestDropInsAdd(t *testing.T) {
	path := files(t, map[string]string{
		"config.json":           `{"cni": {"timeout": "10s"}, "resources": [{"name": "lan", "grants": [{"users": ["a"], "max_attachments": 1}]}]}`,
		"config.d/20-more.json": `{"grants": [{"resource": "iot", "users": ["b"], "static_ips": ["192.0.2.7"]}, {"resource": "lan", "groups": ["g"], "max_attachments": 2}]}`,
		"config.d/10-iot.json":  `{"resources": [{"name": "iot", "allow_users": ["c"]}]}`,
		"config.d/.swap.json":   `not for us`,
		"config.d/notes.txt":    `nor this`,
	})
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Resources) != 2 || c.Resources[0].Name != "lan" || c.Resources[1].Name != "iot" {
		t.Fatalf("got %+v", c.Resources)
	}
	lan, iot := c.Resources[0], c.Resources[1]
	if len(lan.Grants) != 2 || lan.Grants[1].MaxAttachments != 2 || len(iot.Grants) != 1 || iot.Grants[0].Users[0].Name != "b" {
		t.Errorf("grants are %+v and %+v", lan.Grants, iot.Grants)
	}
	if at := iot.Grants[0].At; filepath.Base(at.File) != "20-more.json" || at.Line != 1 {
		t.Errorf("the grant was written at %s", at)
	}
	if iot.DHCP.Timeout.String() != "7.5s" {
		t.Errorf("the resource does not follow the file's cni.timeout: %s", iot.DHCP.Timeout)
	}
}

func TestBadDropIns(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{
		"a resource that is there":    {"{\n\"resources\": [\n{\"name\": \"lan\"}]}", `/x.json:3:1: the resource "lan" is in `},
		"where it is":                 {`{"resources": [{"name": "lan"}]}`, "config.json:2 already"},
		"a resource that is not":      {`{"grants": [{"resource": "lam", "users": ["a"], "max_attachments": 1}]}`, `grants[0].resource is no resource of the configuration: "lam" (did you mean "lan"?)`},
		"a grant on nothing":          {`{"grants": [{"users": ["a"], "max_attachments": 1}]}`, `grants[0] has no key "resource"`},
		"a key of the main file":      {`{"state_dir": "/x"}`, `unknown key "state_dir"`},
		"a fault of a resource's own": {`{"resources": [{"name": "x", "mac": "maybe"}]}`, `x.json:1:37: resources[0].mac must be`},
		"no JSON":                     {`{"resources": `, "x.json:1:15"},
		"an empty file":               {``, "x.json"},
	} {
		t.Run(name, func(t *testing.T) {
			path := files(t, map[string]string{"config.json": "{\"resources\": [\n{\"name\": \"lan\"}]}", "config.d/x.json": tt.file})
			if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want an error that says %s", err, tt.want)
			}
		})
	}
	t.Run("a file that others can write", func(t *testing.T) {
		path := files(t, map[string]string{"config.json": `{"resources": []}`, "config.d/x.json": `{}`})
		if err := os.Chmod(filepath.Join(filepath.Dir(path), "config.d/x.json"), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
			t.Errorf("%v", err)
		}
	})
	t.Run("faults of all files are told", func(t *testing.T) {
		path := files(t, map[string]string{"config.json": `{"resources": [{"name": "lan", "mac": "x"}]}`, "config.d/a.json": `{"resources": [{"name": "x", "mac": "y"}]}`, "config.d/b.json": `{`})
		_, err := config.Load(path)
		for _, want := range []string{"config.json:1:", "a.json:1:", "b.json:1:"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want an error that says %s", err, want)
			}
		}
	})
}
