package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// runnable finds the README's blocks that a comment marks as to be run, and by whom.
var runnable = regexp.MustCompile("(?s)<!-- run as ([a-z]+) -->\n```bash\n(.*?)```")

// What the README prints works as printed, in the order printed.
func TestReadme(t *testing.T) {
	requireLab(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	must(t, "alice", "podman", "network", "rm", dhcpNet) // as on a machine that has none yet
	blocks := runnable.FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 4 {
		t.Fatalf("the README has only %d blocks to run", len(blocks))
	}
	for _, block := range blocks {
		user, script := block[1], block[2]
		out := must(t, user, "bash", "-euc", "exec 2>&1\n"+script)
		t.Logf("%s$ %s\n%s", user, script, out)
		if strings.Contains(out, "urn:net-porter:problem") || strings.Contains(out, "Error:") {
			t.Errorf("%s's commands were refused:\n%s\n%s", user, script, out)
		}
	}
	if left := attachments(t, "alice"); len(left) > 0 {
		t.Errorf("left attached: %v", left)
	}
}
