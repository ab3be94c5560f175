// Package metrics owns every metric's name, help, labels and buckets.
package metrics

import (
	"net/http"
	"runtime"
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
	// Leases is the number of DHCP leases by state, every state included, and the time
	// until the first of those that end does; ok is false if none does.
	Leases func() (byState map[string]int, toExpiry time.Duration, ok bool)
}

// Metrics is the daemon's own registry and what it counts in it. Labels only
// ever carry values from the API's document and from the administrator's files:
// no user can make a new time series.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	attach    *prometheus.HistogramVec
	detach    *prometheus.HistogramVec
	pluginRun *prometheus.HistogramVec
	exchange  *prometheus.HistogramVec
	denials   *prometheus.CounterVec
	refused   prometheus.Counter
	badFrames prometheus.Counter

	addressChanges prometheus.Counter
}

// From a static address on a quiet machine (20 ms) to a DHCP server that never answers (30 s).
var attachBuckets = []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 30, 60}

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
		denials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "net_porter_denials_total",
			Help: "Requests denied, by reason.",
		}, []string{"reason"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "net_porter_connections_refused_total",
			Help: "Connections closed at once because their user had too many open.",
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
		m.requests, m.attach, m.detach, m.pluginRun, m.exchange, m.denials, m.refused, m.badFrames, m.addressChanges, build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.registry.MustRegister(counted{counts})
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Gatherer is the registry, for tests.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Request counts an answered request; code is a problem's code, or "ok".
func (m *Metrics) Request(operation, code string) { m.requests.WithLabelValues(operation, code).Inc() }

// Attach records how an attach to a configured resource ended.
func (m *Metrics) Attach(resource, outcome string, d time.Duration) {
	m.attach.WithLabelValues(resource, outcome).Observe(d.Seconds())
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

// Denial counts a request that policy or the namespace proof denied.
func (m *Metrics) Denial(reason string) { m.denials.WithLabelValues(reason).Inc() }

// ConnectionRefused counts a connection beyond its user's cap.
func (m *Metrics) ConnectionRefused() { m.refused.Inc() }
