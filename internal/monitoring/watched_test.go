package monitoring

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// watch is a Prometheus as the shipped files configure it, but for time: see faster. What
// it scrapes is added and removed while it runs.
type watch struct {
	*testlab.Prometheus
	dir   string
	begun time.Time

	mu      sync.Mutex
	targets map[string]int // ports, by instance
	ports   int
}

func newWatch(t *testing.T, listen string) *watch {
	t.Helper()
	w := &watch{dir: t.TempDir(), targets: map[string]int{}, begun: time.Now()}
	const target = "    static_configs:\n      - targets:\n          - 127.0.0.1:9758 # one line for each host\n"
	config := read(t, scrapeFile)
	if !strings.Contains(config, target) {
		t.Fatalf("%s has not the target that this test puts its own in the place of", scrapeFile)
	}
	config = strings.Replace(config, target, "    file_sd_configs:\n      - files: [targets.json]\n", 1)
	write(t, filepath.Join(w.dir, "prometheus.yml"), sped(t, config))
	write(t, filepath.Join(w.dir, "net-porter.rules.yml"), sped(t, read(t, rulesFile)))
	w.retarget(t)
	w.Prometheus = testlab.StartPrometheus(t, filepath.Join(w.dir, "prometheus.yml"), listen)
	return w
}

// retarget tells Prometheus what to scrape: it watches the file. mu is held, or nobody
// else is there.
func (w *watch) retarget(t testing.TB) {
	t.Helper()
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	groups := []group{}
	for instance, port := range w.targets {
		groups = append(groups, group{[]string{fmt.Sprintf("127.0.0.1:%d", port)}, map[string]string{"instance": instance}})
	}
	data, err := json.Marshal(groups)
	must(t, err)
	file := filepath.Join(w.dir, "targets.json")
	write(t, file+".new", string(data))
	must(t, os.Rename(file+".new", file))
}

// fired are the alerts that have fired at any time, of an instance or, for "", of none.
func (w *watch) fired(t testing.TB, instance string) []string {
	t.Helper()
	return w.alerts(t, fmt.Sprintf(`count by (alertname) (count_over_time(ALERTS{alertstate="firing",instance=%q}[1h]))`, instance))
}

func (w *watch) alerts(t testing.TB, expr string) []string {
	t.Helper()
	series, err := w.Query(expr)
	must(t, err)
	names := map[string]bool{}
	for _, s := range series {
		names[s.Metric["alertname"]] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// host is a daemon that is scraped as an instance.
type host struct {
	*testlab.Daemon
	t        *testing.T
	watch    *watch
	instance string
}

// add starts a daemon and has it scraped under the test's name, until the test is over.
func (w *watch) add(t *testing.T, d *testlab.Daemon) *host {
	t.Helper()
	h := &host{Daemon: d, t: t, watch: w, instance: t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]}
	w.mu.Lock()
	w.ports++
	port := 9800 + w.ports
	w.mu.Unlock()
	d.Configure(func(config map[string]any) {
		config["metrics"] = map[string]any{"listen": fmt.Sprintf("127.0.0.1:%d", port)}
	})
	d.Start()
	w.retargeted(t, func() { w.targets[h.instance] = port })
	// Before the daemon is stopped, which would be an outage.
	t.Cleanup(func() { w.retargeted(t, func() { delete(w.targets, h.instance) }) })
	until(t, h.instance+" is scraped", func() bool { return len(h.now(`up == 1`)) > 0 })
	return h
}

func (w *watch) retargeted(t testing.TB, change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	w.retarget(t)
}

// now is the result of an expression, of what it has of this instance.
func (h *host) now(expr string) []testlab.Series {
	h.t.Helper()
	series, err := h.watch.Query(expr)
	must(h.t, err)
	return slices.DeleteFunc(series, func(s testlab.Series) bool { return s.Metric["instance"] != h.instance })
}

// raises waits until alerts have fired, while it does something over and over.
func (h *host) raises(again func(), names ...string) {
	h.t.Helper()
	for _, name := range names {
		until(h.t, h.instance+" raises "+name, func() bool {
			again()
			return slices.Contains(h.watch.fired(h.t, h.instance), name)
		})
	}
}

// ends waits until alerts fire no more.
func (h *host) ends(names ...string) {
	h.t.Helper()
	for _, name := range names {
		until(h.t, h.instance+" is over with "+name, func() bool {
			return len(h.now(fmt.Sprintf(`ALERTS{alertname=%q,alertstate="firing"}`, name))) == 0
		})
	}
}

// only fails the test if other alerts have fired than these.
func (h *host) only(names ...string) {
	h.t.Helper()
	slices.Sort(names)
	if fired := h.watch.fired(h.t, h.instance); !slices.Equal(fired, names) {
		h.t.Errorf("%s has raised %q, want %q", h.instance, fired, names)
	}
}

func nothing() {}
