package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// supervision counts how the daemon itself is.
type supervision struct {
	reloads    *prometheus.CounterVec
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge
	selfCheck  *prometheus.GaugeVec
}

func newSupervision(registry *prometheus.Registry) supervision {
	s := supervision{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "net_porter_config_reloads_total",
			Help: "Reloads of the configuration, by outcome (ok or failed).",
		}, []string{"outcome"}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "net_porter_config_last_reload_successful",
			Help: "Whether the configuration had no fault at its last reload (1 also before the first); if not, nothing of it is in force, or all but the network configurations or rules that have one.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "net_porter_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration was last read and put in force as a whole.",
		}),
		selfCheck: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "net_porter_self_check_failing",
			Help: "Whether the daemon's check of itself fails, by check (socket, journal or netlink).",
		}, []string{"check"}),
	}
	// Both are there from the first scrape on, or the first failure would be no increase.
	s.reloads.WithLabelValues("ok")
	s.reloads.WithLabelValues("failed")
	registry.MustRegister(s.reloads, s.reloadOK, s.reloadTime, s.selfCheck)
	return s
}

// ConfigInForce records that a configuration has been put in force.
func (s supervision) ConfigInForce(at time.Time) {
	s.reloadOK.Set(1)
	s.reloadTime.Set(float64(at.UnixMilli()) / 1000)
}

// Reload counts a reload of the configuration. One that fails leaves the one before in
// force, or parts of it.
func (s supervision) Reload(at time.Time, err error) {
	if err != nil {
		s.reloads.WithLabelValues("failed").Inc()
		s.reloadOK.Set(0)
		return
	}
	s.reloads.WithLabelValues("ok").Inc()
	s.ConfigInForce(at)
}

// SelfCheck records whether a part of the daemon's check of itself fails.
func (s supervision) SelfCheck(check string, err error) {
	s.selfCheck.WithLabelValues(check).Set(oneIf(err != nil))
}
