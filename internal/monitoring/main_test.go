package monitoring

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	rulesFile     = "../../contrib/prometheus/net-porter.rules.yml"
	rulesTestFile = "../../contrib/prometheus/net-porter.rules.test.yml"
	scrapeFile    = "../../contrib/prometheus/prometheus.yml"
	dashboardFile = "../../contrib/grafana/net-porter.json"
)

// patience is how long anything may take that a test waits for.
const patience = 180 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	// Outages spend most of their time waiting for their alerts.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	// Systemd's watchdog sets how often a daemon checks itself (sd_watchdog_enabled(3)): else
	// that is each half minute. A disk may take seconds for what one check asks of it.
	if err := os.Setenv("WATCHDOG_USEC", "24000000"); err != nil {
		panic(err)
	}
	testlab.Main(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

// promtool runs promtool, which has to have nothing to complain of.
func promtool(t testing.TB, stdin string, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v (apt-get install prometheus)\n%s", strings.Join(args, " "), err, out)
	}
}

// until asks until the answer is yes, of what tells nobody when it happens.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// faster is by how much the tests' Prometheus is faster than time: a minute of the rules is a
// second.
const faster = 60

// times are a rule's or a configuration's: of a range in an expression, of `for`, and of
// intervals.
var times = regexp.MustCompile(`(\[|for: |interval: )(\d+[smhd])\b`)

// sped makes all times in rules or in a configuration shorter.
func sped(t testing.TB, text string) string {
	t.Helper()
	return times.ReplaceAllStringFunc(text, func(found string) string {
		parts := times.FindStringSubmatch(found)
		number, unit := parts[2][:len(parts[2])-1], parts[2][len(parts[2])-1:]
		if unit == "d" {
			number, unit = number+"*24", "h"
		}
		number, days, _ := strings.Cut(number, "*")
		d, err := time.ParseDuration(number + unit)
		must(t, err)
		if days != "" {
			d *= 24
		}
		return fmt.Sprintf("%s%dms", parts[1], (d / faster).Milliseconds())
	})
}
