package check_test

import (
	"strings"
	"testing"
)

// What cannot be enforced is told before anybody's container cannot send.
func TestEnforced(t *testing.T) {
	named := func(name, more string) string {
		return strings.NewReplacer("NAME", name, `"type":"macvlan",`, `"type":"macvlan",`+more).Replace(static)
	}
	dir := folder(t, map[string]string{
		"config.json":  configuration(`{"name": "a", "enforce": true}, {"name": "b", "enforce": true}, {"name": "c"}, {"name": "d", "enforce": true}`),
		"cni.d/a.json": named("a", `"mode":"private",`), "cni.d/b.json": named("b", ""), "cni.d/c.json": named("c", `"mode":"private",`),
		"cni.d/d.json": strings.Replace(named("d", ""), `"master":"infra",`, "", 1),
	})
	got := said(run(t, dir, false), dir)
	for _, want := range []string{
		`cni.d/b.json: warning: resource b: macvlan's mode "bridge"`,
		`cni.d/c.json: error: resource c: its parent link infra is also that of resource b, which has "enforce"`,
		`cni.d/d.json: error: resource d: "enforce" needs a parent of the host's`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "resource a:") {
		t.Errorf("it has something against what is right:\n%s", got)
	}
}
