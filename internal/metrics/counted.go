package metrics

import "github.com/prometheus/client_golang/prometheus"

// counted counts what there is when asked, so that no path of the program can forget to
// count up or down.
type counted struct{ counts Counts }

func attachmentsDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_attachments", "Attachments in the journal, by resource.", []string{"resource"}, nil)
}

func leasesDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_dhcp_leases",
		"DHCP leases by state: bound, renewing, rebinding, or selecting without an address.", []string{"state"}, nil)
}

func expiryDesc() *prometheus.Desc {
	return prometheus.NewDesc("net_porter_dhcp_lease_expiry_seconds",
		"Time until the first DHCP lease expires unless it is prolonged; absent without any that can.", nil, nil)
}

func (counted) Describe(ch chan<- *prometheus.Desc) {
	ch <- attachmentsDesc()
	ch <- leasesDesc()
	ch <- expiryDesc()
}

func (c counted) Collect(ch chan<- prometheus.Metric) {
	if c.counts.Attachments != nil {
		for resource, n := range c.counts.Attachments() {
			ch <- prometheus.MustNewConstMetric(attachmentsDesc(), prometheus.GaugeValue, float64(n), resource)
		}
	}
	if c.counts.Leases == nil {
		return
	}
	byState, toExpiry, ok := c.counts.Leases()
	for state, n := range byState {
		ch <- prometheus.MustNewConstMetric(leasesDesc(), prometheus.GaugeValue, float64(n), state)
	}
	if ok {
		ch <- prometheus.MustNewConstMetric(expiryDesc(), prometheus.GaugeValue, toExpiry.Seconds())
	}
}
