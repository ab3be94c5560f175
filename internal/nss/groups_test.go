package nss

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestGroupsOf(t *testing.T) {
	group := filepath.Join(t.TempDir(), "group")
	if err := os.WriteFile(group, []byte("root:x:0:\n# a comment\n+\nweb:x:30:alice,jo doe\nops:x:20:bob,alice\nmalice:x:40:malice\nbad:x:-1:alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := New(WithGetent("/nonexistent/getent"), WithFiles("/nonexistent", group))
	getent := New(WithGetent(fake(t, `[ "$1" = initgroups ] || exit 1; case $3 in
		alice) echo "alice                30 20 30";; "jo doe") echo "jo doe                30";; *) echo "$3           ";; esac`)))
	for how, r := range map[string]*Resolver{"files": files, "getent": getent} {
		for name, want := range map[string][]uint32{"alice": {20, 30}, "jo doe": {30}, "lice": nil, "": nil, "x\ny": nil, "nobody-here": nil} {
			if got, err := r.GroupsOf(t.Context(), name); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %q is in %v, %v; want %v", how, name, got, err, want)
			}
		}
	}
}

// A wrong group would be a wrong answer to who may have what.
func TestOddGroups(t *testing.T) {
	for script, want := range map[string]string{
		`echo "bob 20"`: "another entry", `echo "alice 20 x"`: "not an id", `echo "alice 4294967295"`: "not an id",
		`printf "alice 1\nalice 2\n"`: "not one line", `echo "Unknown database" >&2; exit 1`: "Unknown database",
	} {
		if got, err := New(WithGetent(fake(t, script))).GroupsOf(t.Context(), "alice"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want an error that says %s", script, got, err, want)
		}
	}
}
