package monitoring

import (
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// allFired has the shipped rules, as Prometheus read them, be those that outages have
// raised, each with what a person is to be told.
func allFired(t *testing.T, w *watch) {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct {
				Name, Health        string
				Labels, Annotations map[string]string
			}
		}
	}
	must(t, w.Get("/api/v1/rules", nil, &rules))
	fired := w.alerts(t, `count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1h]))`)
	tests := read(t, rulesTestFile)
	for _, r := range rules.Groups[0].Rules {
		// That one has a test of a Prometheus of its own.
		if r.Health != "ok" || !slices.Contains(fired, r.Name) && r.Name != "NetPorterNotScraped" {
			t.Errorf("%s: no outage has raised it; its health is %s", r.Name, r.Health)
		}
		if !strings.Contains(tests, r.Name) {
			t.Errorf("%s: not in %s", r.Name, rulesTestFile)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: its severity is %q", r.Name, s)
		}
		for _, a := range []string{"summary", "description", "runbook"} {
			if r.Annotations[a] == "" {
				t.Errorf("%s has no %s", r.Name, a)
			}
		}
	}
}

// panel is a panel of Grafana's, or a row of them.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ H, W, X, Y int }
	Targets []struct {
		RefID, Expr, LegendFormat string
		Datasource                struct{ UID string }
	}
}

var (
	legendLabel = regexp.MustCompile(`{{\s*(\w+)\s*}}`)
	labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
)

// filled has the variables that Grafana puts in be what they are with everything chosen: but
// a series has to have the label.
var filled = strings.NewReplacer("$instance", ".+", "$resource", ".+", "$__rate_interval", "5s")

// dashboard has each query of the dashboard have a result at some time of the outages, with
// the labels that its legend names.
func dashboard(t *testing.T, w *watch) {
	t.Helper()
	var board struct {
		Panels     []panel
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	must(t, json.Unmarshal([]byte(read(t, dashboardFile)), &board))
	known := map[string]bool{"datasource": true, "__rate_interval": true}
	for _, v := range board.Templating.List {
		known[v.Name] = true
		if v.Type != "query" {
			continue
		}
		of := labelValues.FindStringSubmatch(v.Definition)
		if of == nil {
			t.Errorf("the variable %s is not of labels' values: %s", v.Name, v.Definition)
			continue
		}
		var values []string
		must(t, w.Get("/api/v1/label/"+of[2]+"/values", url.Values{"match[]": {filled.Replace(of[1])}}, &values))
		if len(values) == 0 {
			t.Errorf("the variable %s has no values", v.Name)
		}
	}
	ids, taken, queries := map[int]bool{}, map[[2]int]string{}, 0
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("%s: another panel has its id", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s: overlaps with %q or leaves the page", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("%s: has %d queries", p.Title, len(p.Targets))
		}
		for _, target := range p.Targets {
			queries++
			for _, v := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !known[v[1]] {
					t.Errorf("%s: there is no variable %s", p.Title, v[0])
				}
			}
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%s: asks the source %q", p.Title, target.Datasource.UID)
			}
			shows(t, w, p.Title, target.Expr, target.LegendFormat)
		}
	}
	t.Logf("%d queries of %d panels", queries, len(ids))
}

// shows has a query have series with the labels of its legend.
func shows(t *testing.T, w *watch, title, expr, legend string) {
	t.Helper()
	series, err := w.QueryRange(filled.Replace(sped(t, expr)), w.begun, time.Second)
	if err != nil {
		t.Errorf("%s: %v", title, err)
		return
	}
	if len(series) == 0 {
		t.Errorf("%s: nothing to show, at no time: %s", title, expr)
	}
	for _, label := range legendLabel.FindAllStringSubmatch(legend, -1) {
		for _, s := range series {
			if s.Metric[label[1]] == "" {
				t.Errorf("%s: the legend has %s, and there is a series with only %q", title, label[0], slices.Sorted(maps.Keys(s.Metric)))
				break
			}
		}
	}
}
