package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	unitFile  = "../../contrib/systemd/net-porter.service"
	unitPlace = "/usr/lib/systemd/system/net-porter.service"
	// maxExposure is in tenths, as `systemd-analyze security --threshold` takes it.
	maxExposure = "32"
)

// How exposed the service is, by systemd's measure: of the lab, and of this machine,
// which may have the one of Debian 12 and RHEL 9.
func TestUnitExposure(t *testing.T) {
	requireLab(t)
	t.Parallel()
	r := lab(t, "root", "systemd-analyze", "security", "--no-pager", "--threshold="+maxExposure, "net-porter.service")
	t.Logf("the lab's: %s", lastLine(r.stdout))
	if r.code != 0 {
		t.Errorf("more than %s tenths:\n%s", maxExposure, r.stdout)
	}
	if said := must(t, "root", "sh", "-c", "systemd-analyze verify --man=no net-porter.service net-porter.socket 2>&1"); said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	// The program is not on this machine, where nothing is installed.
	there := filepath.Join(t.TempDir(), "net-porter.service")
	text := strings.ReplaceAll(unitText(t), "/usr/bin/net-porter", "/bin/true")
	if err := os.WriteFile(there, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"security", "--no-pager", "--offline=true", "--threshold=" + maxExposure, there},
		{"verify", "--man=no", there},
	} {
		out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
		t.Logf("this machine's %s: %s", args[0], lastLine(string(out)))
		if err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}

// Each capability and address family has its reason in the unit, and so has all that
// systemd finds to be less than strict.
func TestUnitSaysWhy(t *testing.T) {
	requireLab(t)
	t.Parallel()
	text := unitText(t)
	for _, name := range regexp.MustCompile(`\b(CAP|AF)_([A-Z0-9_]+)`).FindAllStringSubmatch(withoutComments(text), -1) {
		if !regexp.MustCompile(`(?m)^#   ([A-Z0-9_]+, )*` + name[2] + `(, [A-Z0-9_]+)* {2,}\S`).MatchString(text) {
			t.Errorf("%s: no line says what for", name[0])
		}
	}
	var all []struct {
		Set  *bool
		Name string
	}
	if err := json.Unmarshal([]byte(must(t, "root", "systemd-analyze", "security", "--no-pager", "--json=short", "net-porter.service")), &all); err != nil || len(all) < 50 {
		t.Fatalf("cannot understand systemd-analyze security: %v, %d rows", err, len(all))
	}
	for _, row := range all {
		key, _, _ := strings.Cut(row.Name, "=")
		relaxed := row.Set != nil && !*row.Set
		commented := regexp.MustCompile(`(?m)^#.*\n(ReadWritePaths=.*\n|PrivateDevices=.*\n|BindPaths=.*\n|IPAddress.*\n)*` + key + `=.+$`).MatchString(text)
		if relaxed && !commented && !regexp.MustCompile(`(?m)^#.*\bNot ([A-Za-z]+, )*`+key+`\b`).MatchString(text) {
			t.Errorf("%s is relaxed, and nothing says why", row.Name)
		}
	}
}

// Where systemd's socket is masked, the daemon makes the one of its configuration, for which
// its capabilities are enough.
func TestSocketOfItsOwn(t *testing.T) {
	requireLab(t)
	stopDaemon(t)
	t.Cleanup(func() {
		must(t, "root", "systemctl", "stop", "net-porter.service")
		must(t, "root", "systemctl", "unmask", "--quiet", "--runtime", "net-porter.socket")
	})
	must(t, "root", "systemctl", "mask", "--quiet", "--runtime", "net-porter.socket")
	must(t, "root", "systemctl", "start", "net-porter.service")
	if got := must(t, "root", "stat", "-c", "%A %U %G", "/run/net-porter.sock"); got != "srw-rw---- root net-porter" {
		t.Errorf("the socket is %q", got)
	}
	if got := must(t, "alice", "curl", "-sS", "--unix-socket", "/run/net-porter.sock", "http://localhost/healthz"); !strings.Contains(got, `"ok"`) {
		t.Errorf("the daemon says %s", got)
	}
	c := start(t, "alice", "--network", dhcpNet)
	c.remove(t, first, c.works(t, dhcpNet, "eth0", first, dhcpRange))
}

func unitText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	if installed := must(t, "root", "cat", unitPlace); installed != strings.TrimSuffix(string(text), "\n") {
		t.Error("the lab has another unit")
	}
	return string(text)
}

func withoutComments(text string) string {
	return regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(text, "")
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
