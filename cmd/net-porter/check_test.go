package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// checked runs `net-porter check`, as a user if uid is not 0, and returns what it prints
// and its exit status.
func checked(t *testing.T, uid uint32, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"check"}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok {
		status = exit.ExitCode()
	}
	return out.String(), complaint.String(), status
}

// checkPlace writes a configuration that is right, and returns the path of its file.
func checkPlace(t *testing.T) string {
	t.Helper()
	dir := testlab.PublicDir(t)
	for name, text := range map[string]string{
		"config.json": fmt.Sprintf(`{"state_dir": %q, "domain_socket": {"path": %q, "group": "root"}, "cni": {"config_dir": %q, "plugin_dirs": [%q]},
"max_attachments_per_user": 9, "resources": [{"name": "lan",
"allow_users": ["daemon", 77],
"grants": [{"users": ["daemon"], "static_ips": ["192.0.2.64/28", "198.51.100.7"], "max_attachments": 3},
{"groups": [4242], "static_macs": ["02:00:00:00:00:01"]}]}]}`, dir+"/state", dir+"/s", dir, dir),
		"lan.json": `{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"fake","ipam":{"type":"static","addresses":[{"address":"192.0.2.1/24"},{"address":"198.51.100.1/24"}]}}]}`,
		"fake":     "#!/bin/sh\n", "static": "#!/bin/sh\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir + "/config.json"
}

// An upgrade starts the daemon anew unless it would not start, which one resource's conflist
// does not keep it from.
func TestCheckStart(t *testing.T) {
	path := checkPlace(t)
	conflist := filepath.Dir(path) + "/lan.json"
	if err := os.WriteFile(conflist, []byte(`{"cniVersion":`), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, complaint, status := checked(t, 0, "-c", path, "--start"); status != 0 || complaint != "" || strings.Contains(out, "lan") {
		t.Errorf("a conflist is broken: %d, %q, %q", status, out, complaint)
	}
	if err := os.Remove(conflist); err != nil {
		t.Fatal(err)
	}
	if out, complaint, status := checked(t, 0, "-c", path, "--start"); status != 0 || complaint != "" {
		t.Errorf("a conflist is missing: %d, %q, %q", status, out, complaint)
	}
	dropIn := filepath.Dir(path) + "/config.d/more.json"
	if err := os.Mkdir(filepath.Dir(dropIn), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dropIn, []byte(`{"grnts": []}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, complaint, status := checked(t, 0, "-c", path, "--start"); status != 1 || !strings.Contains(out, dropIn+":1:") || !strings.Contains(complaint, "1 error") {
		t.Errorf("a drop-in is broken: %d, %q, %q", status, out, complaint)
	}
	for _, flag := range []string{"--strict", "--no-host", "--as=daemon", "--import-acl=" + filepath.Dir(path)} {
		if out, complaint, status := checked(t, 0, "-c", path, "--start", flag); status != 2 || complaint == "" || out != "" {
			t.Errorf("%s: %d, %q, %q", flag, status, out, complaint)
		}
	}
}

// Scripts go by the exit status, people by the words.
func TestCheckExitStatus(t *testing.T) {
	path := checkPlace(t)
	if out, complaint, status := checked(t, 0, "-c", path); status != 0 || complaint != "" || !strings.HasSuffix(out, path+" is right, and so are the network configurations of its resources (1)\n") {
		t.Errorf("all right: %d, %q, %q", status, out, complaint)
	}
	edit(t, path, `["daemon", 77]`, `["daemon", "no-such-user"]`)
	out, complaint, status := checked(t, 0, "-c", path)
	if status != 0 || complaint != "" || !strings.Contains(out, path+":3: warning: ") || !strings.HasSuffix(out, "; 1 warning\n") {
		t.Errorf("a warning: %d, %q, %q", status, out, complaint)
	}
	if out, complaint, status := checked(t, 0, "-c", path, "--strict"); status != 1 || !strings.Contains(complaint, "0 errors, 1 warning") || strings.Contains(out, "is right") {
		t.Errorf("a warning, strictly: %d, %q, %q", status, out, complaint)
	}
	if out, _, status := checked(t, 0, "-c", path, "--strict", "--no-host"); status != 0 || strings.Contains(out, "warning") {
		t.Errorf("a warning that is of the host: %d, %q", status, out)
	}
	edit(t, filepath.Dir(path)+"/lan.json", `"type":"fake"`, `"type":"absent"`)
	if out, complaint, status := checked(t, 0, "-c", path); status != 1 || !strings.Contains(complaint, path+": 1 error, 1 warning") || !strings.Contains(out, "error: resource lan: ") {
		t.Errorf("an error: %d, %q, %q", status, out, complaint)
	}
	var report struct {
		OK               bool
		Errors, Warnings int
		Findings         []struct{ Severity, File, Message string }
	}
	out, _, status = checked(t, 0, "-c", path, "--json")
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != 1 || report.OK || report.Errors != 1 || report.Warnings != 1 ||
		len(report.Findings) != 2 || report.Findings[0].Severity != "error" || report.Findings[0].File == "" {
		t.Errorf("as JSON: %d, %v, %s", status, err, out)
	}
	for _, args := range [][]string{{"--nonsense"}, {"lan"}, {"--resource", "lan"}, {"--as", "daemon"}, {"--as", "daemon", "--resource", "lan", "--strict"}, {"--as", "", "--resource", "lan"}} {
		if out, complaint, status := checked(t, 0, append(args, "-c", path)...); status != 2 || complaint == "" || out != "" {
			t.Errorf("%v: %d, %q, %q", args, status, out, complaint)
		}
	}
}

func edit(t *testing.T, path, old, new string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %s (%v)", path, old, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o755); err != nil {
		t.Fatal(err)
	}
}

// What a user would be answered is known before the user asks, with the line to change.
func TestCheckAs(t *testing.T) {
	path := checkPlace(t)
	for _, tt := range []struct {
		args   string
		status int
		says   string
	}{
		{"--as daemon --resource lan", 0, "allowed: by allow_users daemon at PATH:3 (max 3 attachments, max 9 on all resources together)\nasked as daemon (uid 1) with the groups 1"},
		{"--as 1 --resource lan --ip 192.0.2.79", 0, "allowed: by allow_users daemon at PATH:3 and grant at PATH:4 (max 3"},
		{"--as daemon --resource lan --ip 192.0.2.79 --ip 198.51.100.7", 0, "and grant at PATH:4 (max 3"},
		{"--as daemon --resource lan --ip 192.0.2.79 --ip 192.0.2.80", 1, "refused: the address 192.0.2.80 is not granted to you on resource lan"},
		{"--as daemon --resource lan --mac 02:00:00:00:00:01", 1, "refused: the MAC address 02:00:00:00:00:01 is not granted to you"},
		{"--as daemon --groups 4242,1 --resource lan --mac 02:00:00:00:00:01", 0, "and grant at PATH:5 (max 3 attachments, max 9 on all resources together)\nasked as daemon (uid 1) with the groups 4242, 1 (as given)"},
		{"--as bin --resource lan", 1, "refused: resource \"lan\" does not list the caller\nthe user is told: there is no resource \"lan\" that you (uid 2) may use"},
		{"--as bin --groups 4242 --resource lan", 0, "allowed: by grant at PATH:5 (max 9 on all"},
		{"--as 77 --groups daemon --resource lan", 0, "allowed: by allow_users 77 at PATH:3"},
		{"--as daemon --resource nal", 1, "refused: resource \"nal\" is not configured"},
		{"--as 77 --resource lan", 2, "--groups"},
		{"--as no-such-user --resource lan", 2, "no such user"},
		{"--as daemon --groups no-such-group --resource lan", 2, "no such user or group"},
		{"--as daemon --resource lan --ip 192.0.2.300", 2, "static_ips"},
		{"--as daemon --resource lan --mac 0200", 2, "static_mac"},
		{"--as daemon --resource lan -c /nonexistent", 2, "there is no such file"},
	} {
		out, complaint, status := checked(t, 0, append([]string{"-c", path}, strings.Fields(tt.args)...)...)
		if all := out + complaint; status != tt.status || !strings.Contains(all, strings.ReplaceAll(tt.says, "PATH", path)) {
			t.Errorf("%s: %d, want %d and %q:\n%s", tt.args, status, tt.status, tt.says, all)
		}
		if (status == 2) != (complaint != "") {
			t.Errorf("%s: complains %q", tt.args, complaint)
		}
	}
	edit(t, filepath.Dir(path)+"/lan.json", "198.51.100.1/24", "203.0.113.1/24")
	out, _, status := checked(t, 0, "-c", path, "--as", "daemon", "--resource", "lan", "--ip", "198.51.100.7")
	if status != 1 || !strings.Contains(out, "198.51.100.7 is in none of the networks whose addresses this one gives") {
		t.Errorf("an address that is granted and cannot be given: %d, %s", status, out)
	}
	var a answer
	out, _, status = checked(t, 0, "-c", path, "--json", "--as", "daemon", "--resource", "lan")
	if err := json.Unmarshal([]byte(out), &a); err != nil || status != 0 || !a.Allowed || a.UID != 1 || a.MaxAttachments != 3 || a.MaxInAll != 9 || len(a.Rules) != 1 {
		t.Errorf("as JSON: %d, %v, %s", status, err, out)
	}
}

// Whoever can read the files can ask; nobody gets to read more by it.
func TestCheckAsAnOrdinaryUser(t *testing.T) {
	testlab.RequireRoot(t)
	path := checkPlace(t)
	if out, complaint, status := checked(t, 1000, "-c", path, "--as", "daemon", "--resource", "lan", "--ip", "192.0.2.64"); status != 0 || !strings.HasPrefix(out, "allowed: ") {
		t.Errorf("--as: %d, %s%s", status, out, complaint)
	}
	if out, complaint, status := checked(t, 1000, "-c", path); status != 0 {
		t.Errorf("check: %d, %s%s", status, out, complaint)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, complaint, status := checked(t, 1000, "-c", path, "--as", "daemon", "--resource", "lan"); status != 2 || !strings.Contains(complaint, "permission denied") {
		t.Errorf("a file that cannot be read: %d, %s%s", status, out, complaint)
	}
}

// Who comes from the Zig net-porter gets a file that is right here, or none and the reason.
func TestCheckImportACL(t *testing.T) {
	path := checkPlace(t)
	acl := filepath.Join(filepath.Dir(path), "acl.d")
	if err := os.Mkdir(acl, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(acl, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("daemon.json", `{"grants": [{"resource": "lan"}], "groups": ["fixed"]}`)
	write("@fixed.json", `{"grants": [{"resource": "fixed", "ips": ["192.0.2.64-192.0.2.79"]}]}`)
	out, complaint, status := checked(t, 0, "-c", path, "--import-acl", acl)
	if want := "{\n  \"resources\": [\n    {\n      \"name\": \"fixed\",\n"; status != 0 || !strings.HasPrefix(out, want) {
		t.Errorf("%d, %s%s", status, out, complaint)
	}
	for _, word := range []string{path + ":2: warning: resource lan: is in the configuration already", "/@fixed.json:1: warning: on a resource with DHCP"} {
		if !strings.Contains(complaint, word) {
			t.Errorf("it does not say %q: %s", word, complaint)
		}
	}
	if out, complaint, status := checked(t, 0, "-c", path, "--strict", "--import-acl", acl); status != 1 || out != "" || !strings.Contains(complaint, "0 errors, 2 warnings, so that nothing is printed") {
		t.Errorf("strictly: %d, %s%s", status, out, complaint)
	}

	// What is printed is right, where the configuration has no such resources yet.
	edit(t, path, `"name": "lan"`, `"name": "other"`)
	dropIn := filepath.Join(filepath.Dir(path), "config.d")
	if err := os.Mkdir(dropIn, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dropIn, "acl.json"), []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"other.json", "fixed.json"} {
		conflist, err := os.ReadFile(filepath.Join(filepath.Dir(path), "lan.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(strings.Replace(string(conflist), `"name":"lan"`, `"name":"`+name[:5]+`"`, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, complaint, status := checked(t, 0, "-c", path, "--strict"); status != 0 || !strings.Contains(out, "of its resources (3)") {
		t.Errorf("what is printed: %d, %s%s", status, out, complaint)
	}

	write("eve.json", "{\n\"grants\": 1}")
	if out, complaint, status := checked(t, 0, "-c", path, "--import-acl", acl); status != 1 || out != "" || !strings.Contains(complaint, "/eve.json:2:11: error: ") {
		t.Errorf("a broken file: %d, %s%s", status, out, complaint)
	}
	for _, args := range [][]string{{"--import-acl", acl, "--json"}, {"--import-acl", acl, "--no-host"}, {"--import-acl", acl, "--as", "daemon", "--resource", "lan"}, {"--import-acl", ""}} {
		if out, complaint, status := checked(t, 0, args...); status != 2 || out != "" || complaint == "" {
			t.Errorf("%v: %d, %s%s", args, status, out, complaint)
		}
	}
}
