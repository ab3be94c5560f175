package monitoring

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/testlab"
)

// What promtool makes of the files as they are shipped, with the tests of each rule.
func TestPromtool(t *testing.T) {
	testlab.RequireRoot(t) // as of where promtool is
	promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", rulesFile)
	promtool(t, "", "check", "config", "--lint=all", "--lint-fatal", scrapeFile)
	promtool(t, "", "test", "rules", rulesTestFile)
}

// The lines about TLS and a password, which are there to be taken in, are right, too.
func TestScrapeConfigurationForOtherHosts(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	text, taken := read(t, scrapeFile), 0
	for _, line := range []string{"scheme:", "tls_config:", "  ca_file:", "basic_auth:", "  username:", "  password_file:"} {
		taken += strings.Count(text, "    # "+line)
		text = strings.Replace(text, "    # "+line, "    "+line, 1)
	}
	if taken != 6 {
		t.Fatalf("there are %d of the 6 lines to be taken in", taken)
	}
	write(t, filepath.Join(dir, "prometheus.yml"), text)
	write(t, filepath.Join(dir, "net-porter.rules.yml"), read(t, rulesFile))
	write(t, filepath.Join(dir, "net-porter.password"), "secret")
	write(t, filepath.Join(dir, "net-porter-ca.pem"), "")
	promtool(t, "", "check", "config", filepath.Join(dir, "prometheus.yml"))
}

// An alert's runbook finds the records that it speaks of.
func TestRunbooksKnowTheRecords(t *testing.T) {
	known := map[string]bool{}
	for _, event := range audit.Events() {
		known[event.MessageID()] = true
	}
	for name, text := range map[string]string{rulesFile: read(t, rulesFile), dashboardFile: read(t, dashboardFile)} {
		found := regexp.MustCompile(`MESSAGE_ID=([0-9a-f]*)`).FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s names no records", name)
		}
		for _, f := range found {
			if !known[f[1]] {
				t.Errorf("%s: there are no records with the MESSAGE_ID %q", name, f[1])
			}
		}
	}
}
