package aclimport

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/testlab"
)

// folder writes an acl.d.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// said is a folder's findings, a line each, without the folder's name.
func said(dir string, findings []check.Finding) string {
	var lines []string
	for _, f := range findings {
		lines = append(lines, strings.ReplaceAll(f.String(), dir+"/", ""))
	}
	return strings.Join(lines, "\n")
}

// The documentation of version 1.5 has these files, and what they mean is known.
func TestWhatIsGranted(t *testing.T) {
	dir := folder(t, map[string]string{
		"alice.json": `{"grants": [{"resource": "macvlan-dhcp"}, {"resource": "static-net", "ips": ["192.168.1.10 - 192.168.1.20", "192.168.1.15-192.168.1.30", "192.168.1.5"]}],
"groups": ["dhcp-users", "devops", "devops"]}`,
		"bob.json":         `{"user": "bob", "groups": ["devops"], "grants": []}`,
		"@devops.json":     `{"grants": [{"resource": "vlan-200"}, {"resource": "static-net", "ips": ["2001:db8::1-2001:db8::ff"], "macs": ["02:42:ac:11:00:01-02:42:ac:11:00:ff", "02:42:AC:11:00:ff"]}]}`,
		"@dhcp-users.json": `{"grants": [{"resource": "macvlan-dhcp", "ips": []}]}`,
	})
	file, findings := Read(dir)
	got, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"resources":[{"name":"macvlan-dhcp","allow_users":["alice"]},` +
		`{"name":"static-net","grants":[` +
		`{"users":["alice","bob"],"static_ips":["2001:db8::1-2001:db8::ff"],"static_macs":["02:42:ac:11:00:01-02:42:ac:11:00:ff"]},` +
		`{"users":["alice"],"static_ips":["192.168.1.5","192.168.1.10-192.168.1.30"]}]},` +
		`{"name":"vlan-200","allow_users":["alice","bob"]}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, word := range []string{"bob.json: warning: grants nothing", "alice.json:1: warning: on a resource with DHCP", "@devops.json:1: warning: on a resource with DHCP"} {
		if !strings.Contains(said(dir, findings), word) {
			t.Errorf("it does not say %q:\n%s", word, said(dir, findings))
		}
	}
}

// What the other program passes over is passed over, and told.
func TestWhatIsLeftOut(t *testing.T) {
	dir := folder(t, map[string]string{
		"alice.json":    "{\"grants\": [{\"resource\": \"lan\"}],\n\"groups\": [\"absent\", \"../../etc/shadow\"]}",
		"README":        "hello",
		"x.json.bak":    "{",
		".hidden.json":  "{",
		"@.json":        "{",
		"a b.json":      "{",
		"1000.json":     `{"grants": [{"resource": "lan"}]}`,
		"@nobodys.json": "{\"grants\": [{\"resource\": \"lan\"}],\n\"groups\": [\"x\"]}",
	})
	if err := os.Symlink("/etc/shadow", filepath.Join(dir, "carol.json")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	file, findings := Read(dir)
	if file == nil || len(file.Resources) != 1 || strings.Join(file.Resources[0].AllowUsers, " ") != "alice" {
		t.Errorf("%+v", file)
	}
	all := said(dir, findings)
	for _, word := range []string{
		"alice.json:2: warning: there is no @absent.json", "alice.json:2: warning: there is no @../../etc/shadow.json",
		"README: warning: is left out: its name", "x.json.bak: warning: is left out: its name", ".hidden.json: warning: is left out", "@.json: warning: is left out",
		"a b.json: warning: is left out", "1000.json: warning: is left out: here a number", "@nobodys.json: warning: is left out: no user's",
		"@nobodys.json:2: warning: \"x\" is left out", "carol.json: warning: is left out: it is not a regular file", "fifo.json: warning: is left out: it is not a regular file",
	} {
		if !strings.Contains(all, word) {
			t.Errorf("it does not say %q:\n%s", word, all)
		}
	}
	if strings.Contains(all, "error") {
		t.Errorf("there is an error:\n%s", all)
	}
}

// Nothing comes of a folder with a file that cannot be read, or that meant something else once.
func TestWhatIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"a comma is missing":       "{\"grants\": [\n{\"resource\": \"lan\"}\n {\"resource\": \"lan\"}]}",
		"twice":                    "{\"grants\": [],\n\"grants\": [{\"resource\": \"lan\"}]}",
		"no list":                  "{\"grants\":\n{\"resource\": \"lan\"}}",
		"null":                     "{\"grants\": [{\"resource\": \"lan\",\n\"ips\": null}]}",
		"no resource":              "{\"grants\": [\n{\"ips\": [\"192.0.2.1\"]}]}",
		"another's file":           "{\"grants\": [{\"resource\":\n\"../../etc/passwd\"}]}",
		"a network":                "{\"grants\": [{\"resource\": \"lan\", \"ips\": [\n\"192.0.2.0/24\"]}]}",
		"backwards":                "{\"grants\": [{\"resource\": \"lan\", \"ips\": [\n\"192.0.2.9-192.0.2.1\"]}]}",
		"two families":             "{\"grants\": [{\"resource\": \"lan\", \"ips\": [\n\"0.0.0.1-::ffff\"]}]}",
		"no address":               "{\"grants\": [{\"resource\": \"lan\", \"ips\": [\n\"*\"]}]}",
		"group MACs":               "{\"grants\": [{\"resource\": \"lan\", \"macs\": [\n\"00:00:00:00:00:01-ff:ff:ff:ff:ff:ff\"]}]}",
		"an unknown key":           "{\"grants\": [{\"resource\": \"lan\",\n\"deny\": [\"192.0.2.1\"]}]}",
		"a group of version 0.6":   "{\"grants\": [{\"resource\": \"lan\"}],\n\"group\": \"devops\"}",
		"another user, of 0.6":     "{\"grants\": [{\"resource\": \"lan\"}],\n\"user\": \"bob\"}",
		"an escape for a terminal": "{\"grants\": [{\"resource\":\n\"\\u001b[2J\"}]}",
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"alice.json": text, "bob.json": `{"grants": [{"resource": "lan"}]}`})
			file, findings := Read(dir)
			if file != nil || !strings.Contains(said(dir, findings), "alice.json:2:") || strings.Contains(said(dir, findings), "\x1b") {
				t.Errorf("%+v\n%s", file, said(dir, findings))
			}
		})
	}
	dir := folder(t, map[string]string{"alice.json": strings.Repeat(" ", config.MaxACLSize) + "{}"})
	if file, findings := Read(dir); file != nil || !strings.Contains(said(dir, findings), "larger than 64 KiB") {
		t.Errorf("a file that is too large: %v, %s", file, said(dir, findings))
	}
	if file, findings := Read(dir + "/absent"); file != nil || len(findings) != 1 || !strings.Contains(findings[0].String(), "cannot read the folder: no such file") {
		t.Errorf("no folder: %v, %v", file, findings)
	}
}

// A file that a user can write would let that user decide what root then puts into force.
func TestAFileThatOthersWrite(t *testing.T) {
	testlab.RequireRoot(t)
	dir := folder(t, map[string]string{"alice.json": `{"grants": [{"resource": "lan"}]}`, "bob.json": `{"grants": [{"resource": "lan"}]}`})
	if err := os.Chown(dir+"/alice.json", 1000, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir+"/bob.json", 0o664); err != nil {
		t.Fatal(err)
	}
	file, findings := Read(dir)
	if all := said(dir, findings); file != nil || !strings.Contains(all, "belongs to uid 1000") || !strings.Contains(all, "mode is 0664") {
		t.Errorf("%+v\n%s", file, all)
	}
}
