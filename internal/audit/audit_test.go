package audit

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What people search for keeps its meaning: a number that is changed or used twice fails
// here, and so does one that journalctl -x or the guide knows nothing of.
func TestEventsAreDocumented(t *testing.T) {
	read := func(path string) string {
		data, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	const catalogFile = "contrib/systemd/net-porter.catalog"
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^-- (.*)$`).FindAllStringSubmatch(read(catalogFile), -1) {
		listed = append(listed, m[1])
	}
	guide := read("contrib/doc/record.md")
	names, ids := map[string]bool{}, map[string]bool{}
	for _, e := range Events() {
		if names[e.String()] || ids[e.MessageID()] {
			t.Errorf("%s is there twice", e)
		}
		names[e.String()], ids[e.MessageID()] = true, true
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(e.MessageID()) || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(e.String()) {
			t.Errorf("%s has the number %q", e, e.MessageID())
		}
		if !slices.Contains(listed, e.MessageID()) {
			t.Errorf("%s is not in %s", e, catalogFile)
		}
		if !strings.Contains(guide, "| `"+e.String()+"` | `"+e.MessageID()+"` |") {
			t.Errorf("%s is not in the table of record.md", e)
		}
	}
	if len(listed) != len(names) {
		t.Errorf("%s has %d entries for %d events", catalogFile, len(listed), len(names))
	}
	for _, free := range []string{"CGROUP", "ERROR", "ASKED_IPS", "DRIFT"} {
		if strings.Contains(read(catalogFile), "@NET_PORTER_"+free+"@") {
			t.Errorf("%s has journalctl write NET_PORTER_%s, which users may choose, to terminals as it is", catalogFile, free)
		}
	}
	if !strings.Contains(read("Makefile"), catalogFile) {
		t.Errorf("make install leaves %s out", catalogFile)
	}
}
