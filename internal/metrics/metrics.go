// Package metrics owns every metric's name, help, labels and buckets.
package metrics

import (
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Counts gives what there is, when scraped. Each may be nil, where there is nothing to
// count.
type Counts struct {
	// Attachments is the number of attachments by resource.
	Attachments func() map[string]int
	// FailedDetaches is the number of attachments whose removal has failed, by resource.
	FailedDetaches func() map[string]int
	// Ready says of each resource whether it can be used.
	Ready func() map[string]bool
	// Faulty is the number of attachments that something is wrong with, by resource.
	Faulty func() map[string]int
	// Leases tells of the DHCP leases of each resource that has any.
	Leases func(tell TellLeases)
	// Enforcement says whether what containers send is enforced anywhere, and if so whether
	// the rules are in force, and how often they were restored.
	Enforcement func() (wanted, inForce bool, restored int)
	// Turns is how many have a turn to run plugins, and how many wait for one.
	Turns func() (running, waiting int)
}

// TellLeases is told the number of a resource's DHCP leases by state, every state included,
// and the time until the first of those that end does; ends is false if none does.
type TellLeases = func(resource string, byState map[string]int, toExpiry time.Duration, ends bool)

// Metrics is the daemon's own registry and what it counts in it. Labels only
// ever carry values from the API's document and from the administrator's files:
// no user can make a new time series.
type Metrics struct {
	supervision
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	attach    *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	detach    *prometheus.HistogramVec
	pluginRun *prometheus.HistogramVec
	exchange  *prometheus.HistogramVec
	releases  *prometheus.CounterVec
	denials   *prometheus.CounterVec
	refused   *prometheus.CounterVec
	turnWait  prometheus.Histogram
	badFrames prometheus.Counter

	addressChanges prometheus.Counter
}

// From a static address on a quiet machine (20 ms) to a DHCP server that never answers (30 s).
var attachBuckets = []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 30, 60}

// failureCodes are the API's problem codes of what an attach's user cannot have caused, and
// is not about to try again, as with busy.
var failureCodes = []string{"cni-failed", "dhcp-no-offer", "internal", "resource-unavailable", "timeout"}

// denialReasons are the reasons of denials.
var denialReasons = []string{
	"not-listed", "static-address", "static-mac", "quota", "netns", "not-owner", "not-root", "subordinate-uid", "browser",
}

// New makes the metrics.
func New(version, revision string, counts Counts) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "net_porter_requests_total",
			Help: "Requests answered, by the API's operation and by problem code (ok without a problem).",
		}, []string{"operation", "code"}),
		attach: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "net_porter_attach_duration_seconds",
			Help:    "Time to make an attachment, from the decoded request to the result, by resource and outcome.",
			Buckets: attachBuckets,
		}, []string{"resource", "outcome"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "net_porter_attach_failures_total",
			Help: "Attaches that failed for a reason that is the host's or the network's and not their user's, by resource and problem code.",
		}, []string{"resource", "code"}),
		detach: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "net_porter_detach_duration_seconds",
			Help:    "Time to remove an attachment, by resource and outcome.",
			Buckets: attachBuckets,
		}, []string{"resource", "outcome"}),
		pluginRun: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "net_porter_plugin_run_duration_seconds",
			Help:    "Time that a CNI plugin ran, by plugin type and CNI command.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}, []string{"plugin", "command"}),
		exchange: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "net_porter_dhcp_exchange_duration_seconds",
			Help:    "Time of an exchange with DHCP servers, by IP version, kind and outcome. Its count is the number of exchanges.",
			Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15},
		}, []string{"ip_version", "kind", "outcome"}),
		addressChanges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "net_porter_dhcp_address_changes_total",
			Help: "Addresses of running containers that DHCP servers have replaced by others.",
		}),
		releases: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "net_porter_releases_total",
			Help: "Removals that nobody asked for, of attachments whose container is gone, or whose removal or undo had failed, by resource and outcome (ok or failed).",
		}, []string{"resource", "outcome"}),
		denials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "net_porter_denials_total",
			Help: "Requests denied, by reason.",
		}, []string{"reason"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "net_porter_refused_total",
			Help: "What was refused because its user had too much going on, or all users had: connections, requests too many at a time (in_flight) or in a second (rate), and those whose turn to run plugins did not come in time (turn).",
		}, []string{"reason"}),
		turnWait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "net_porter_turn_wait_seconds",
			Help:    "Time waited for a turn to run plugins.",
			Buckets: []float64{.001, .01, .05, .1, .5, 1, 2, 5, 10, 20, 30, 60},
		}),
		badFrames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "net_porter_dhcp_bad_frames_total",
			Help: "Frames from a network that claimed to be DHCP replies and could not be used.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "net_porter_build_info",
		Help:        "Always 1; the labels tell the build.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.requests, m.attach, m.failures, m.detach, m.pluginRun, m.exchange, m.releases, m.denials, m.refused, m.turnWait, m.badFrames, m.addressChanges, build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.supervision = newSupervision(m.registry)
	m.registry.MustRegister(counted{counts})
	// To be seen before the first one, which would be no increase.
	for _, reason := range []string{"connections", "in_flight", "rate", "turn"} {
		m.refused.WithLabelValues(reason)
	}
	for _, reason := range denialReasons {
		m.denials.WithLabelValues(reason)
	}
	return m
}

// What serving the metrics may take: a scrape goes through all attachments and leases.
const (
	maxScrapes = 4 // at a time; who comes then is answered 503
	// scrapeTimeout is less than callers have to take the answer. That there is one also has
	// the answer made before it is sent, so that a place is not kept by who does not read.
	scrapeTimeout = 8 * time.Second
)

// Handler makes what serves the metrics. Each has places of its own: a crowd at one keeps
// nobody at another from looking.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
	})
}

// Gatherer is the registry, for tests.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Offer has what is counted of a configured resource be there from zero on.
func (m *Metrics) Offer(resource string) {
	m.attach.WithLabelValues(resource, "ok")
	for _, code := range failureCodes {
		m.failures.WithLabelValues(resource, code)
	}
}

// Request counts an answered request; code is a problem's code, or "ok".
func (m *Metrics) Request(operation, code string) { m.requests.WithLabelValues(operation, code).Inc() }

// Attach records how an attach to a configured resource ended.
func (m *Metrics) Attach(resource, outcome string, d time.Duration) {
	m.attach.WithLabelValues(resource, outcome).Observe(d.Seconds())
	if slices.Contains(failureCodes, outcome) {
		m.failures.WithLabelValues(resource, outcome).Inc()
	}
}

// Detach records how a detach from a recorded resource ended.
func (m *Metrics) Detach(resource, outcome string, d time.Duration) {
	m.detach.WithLabelValues(resource, outcome).Observe(d.Seconds())
}

// PluginRun records one run of a CNI plugin.
func (m *Metrics) PluginRun(plugin, command string, d time.Duration) {
	m.pluginRun.WithLabelValues(plugin, command).Observe(d.Seconds())
}

// ObserveExchange records one exchange with DHCP servers.
func (m *Metrics) ObserveExchange(ipVersion int, kind, outcome string, d time.Duration) {
	m.exchange.WithLabelValues(strconv.Itoa(ipVersion), kind, outcome).Observe(d.Seconds())
}

// CountAddressChange counts a running container's change of address.
func (m *Metrics) CountAddressChange() { m.addressChanges.Inc() }

// CountBadFrame counts a frame from the LAN that claimed to be a DHCP reply and was none.
func (m *Metrics) CountBadFrame() { m.badFrames.Inc() }

// Release counts a removal that nobody asked for.
func (m *Metrics) Release(resource string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	m.releases.WithLabelValues(resource, outcome).Inc()
}

// Denial counts a request that policy or the namespace proof denied.
func (m *Metrics) Denial(reason string) { m.denials.WithLabelValues(reason).Inc() }

// Refused counts what was refused for a limit: connections, in_flight, rate or turn.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// TurnWaited records how long a turn to run plugins was waited for.
func (m *Metrics) TurnWaited(d time.Duration) { m.turnWait.Observe(d.Seconds()) }
