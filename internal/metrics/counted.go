package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counted counts what there is when asked, so that no path of the program can forget to
// count up or down.
type counted struct{ counts Counts }

func attachmentsDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_attachments", "Attachments in the journal, by resource.", []string{"resource"}, nil)
}

func failedDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_failed_detaches",
		"Attachments whose removal has failed and is tried again, by resource.", []string{"resource"}, nil)
}

func readyDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_resource_ready",
		"1 if the resource has a network configuration, plugins and parent links to be used with, else 0.", []string{"resource"}, nil)
}

func faultyDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_attachments_faulty",
		"Attachments that are attached and do not work, as when their parent link is gone, by resource.", []string{"resource"}, nil)
}

func leasesDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_dhcp_leases",
		"DHCP leases by resource and state: bound, renewing, rebinding, or selecting without an address.", []string{"resource", "state"}, nil)
}

func expiryDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_dhcp_lease_expiry_seconds",
		"Time until the first DHCP lease of a resource expires unless it is prolonged; absent without any that can.", []string{"resource"}, nil)
}

func inForceDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_enforcement_in_force",
		"1 if the rules that enforce what containers send are as they should be, 0 if they could not be made so; absent where nothing is enforced.", nil, nil)
}

func restoredDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_enforcement_restored_total",
		"How often these rules were made anew because another program had changed or removed them.", nil, nil)
}

func runningDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_turns_running",
		"Attaches and removals that have a turn to run plugins; limits.plugin_runs is the most.", nil, nil)
}

func waitingDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_turns_waiting", "Attaches and removals that wait for a turn to run plugins.", nil, nil)
}

func (counted) Describe(ch chan<- *prometheus.Desc) {
	ch <- attachmentsDesc()
	ch <- failedDesc()
	ch <- readyDesc()
	ch <- faultyDesc()
	ch <- leasesDesc()
	ch <- expiryDesc()
	ch <- inForceDesc()
	ch <- restoredDesc()
	ch <- runningDesc()
	ch <- waitingDesc()
}

func (c counted) Collect(ch chan<- prometheus.Metric) {
	if c.counts.Attachments != nil {
		for resource, n := range c.counts.Attachments() {
			ch <- prometheus.MustNewConstMetric(attachmentsDesc(), prometheus.GaugeValue, float64(n), resource)
		}
	}
	if c.counts.FailedDetaches != nil {
		for resource, n := range c.counts.FailedDetaches() {
			ch <- prometheus.MustNewConstMetric(failedDesc(), prometheus.GaugeValue, float64(n), resource)
		}
	}
	if c.counts.Ready != nil {
		for resource, ready := range c.counts.Ready() {
			ch <- prometheus.MustNewConstMetric(readyDesc(), prometheus.GaugeValue, oneIf(ready), resource)
		}
	}
	if c.counts.Faulty != nil {
		for resource, n := range c.counts.Faulty() {
			ch <- prometheus.MustNewConstMetric(faultyDesc(), prometheus.GaugeValue, float64(n), resource)
		}
	}
	if c.counts.Turns != nil {
		running, waiting := c.counts.Turns()
		ch <- prometheus.MustNewConstMetric(runningDesc(), prometheus.GaugeValue, float64(running))
		ch <- prometheus.MustNewConstMetric(waitingDesc(), prometheus.GaugeValue, float64(waiting))
	}
	if c.counts.Enforcement != nil {
		if wanted, inForce, restored := c.counts.Enforcement(); wanted {
			ch <- prometheus.MustNewConstMetric(inForceDesc(), prometheus.GaugeValue, oneIf(inForce))
			ch <- prometheus.MustNewConstMetric(restoredDesc(), prometheus.CounterValue, float64(restored))
		}
	}
	if c.counts.Leases != nil {
		c.counts.Leases(func(resource string, byState map[string]int, toExpiry time.Duration, ends bool) {
			for state, n := range byState {
				ch <- prometheus.MustNewConstMetric(leasesDesc(), prometheus.GaugeValue, float64(n), resource, state)
			}
			if ends {
				ch <- prometheus.MustNewConstMetric(expiryDesc(), prometheus.GaugeValue, toExpiry.Seconds(), resource)
			}
		})
	}
}

func oneIf(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}
