package config

import (
	"fmt"
	"strconv"
)

// limits checks each limit by itself, and then those that another one bounds. The
// default of a bounded one gives way to what the file says of the other.
func (r *reader) limits(raw rawLimits) Limits {
	connections := r.limit(raw.connectionsPerUser, DefaultConnectionsPerUser, MinConnectionsPerUser, MaxConnectionsPerUser)
	runs := r.limit(raw.pluginRuns, DefaultPluginRuns, 1, MaxPluginRuns)
	return Limits{
		ConnectionsPerUser: connections.what,
		RequestsPerUser: r.limitWithin(raw.requestsPerUser, DefaultRequestsPerUser, MaxConnectionsPerUser,
			connections, "limits.connections_per_user", "each request has a connection"),
		RatePerUser: r.limit(raw.ratePerUser, DefaultRatePerUser, 1, MaxRatePerUser).what,
		PluginRuns:  runs.what,
		PluginRunsPerUser: r.limitWithin(raw.pluginRunsPerUser, DefaultPluginRunsPerUser, MaxPluginRuns,
			runs, "limits.plugin_runs", "one user cannot have more than all"),
	}
}

// limit is a limit as it is, written or not. It is not ok when it is at fault: then
// nothing else is for its sake.
func (r *reader) limit(raw value[string], fallback, least, most int) value[int] {
	limit := value[int]{at: raw.at, ok: raw.at == nil, what: fallback}
	if !raw.ok {
		return limit
	}
	if n, ok := r.whole(raw.at, raw.what, least, most); ok {
		limit.what, limit.ok = n, true
	}
	return limit
}

// limitWithin is a limit that may be no higher than another one, and why.
func (r *reader) limitWithin(raw value[string], fallback, most int, other value[int], name, why string) int {
	limit := r.limit(raw, min(fallback, other.what), 1, most)
	if raw.ok && limit.ok && other.ok && limit.what > other.what {
		whence := "by default"
		if other.at != nil {
			whence = fmt.Sprintf("on line %d", lineOf(r.data, other.at.at))
		}
		r.fault(raw.at, why, "must be at most %s, which is %d %s, not %d", name, other.what, whence, limit.what)
	}
	return limit.what
}

// whole takes a whole number. JSON's 16.0 and 1e3 are such, too, but nobody means them.
func (r *reader) whole(at *node, text string, least, most int) (int, bool) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		r.fault(at, "", "must be a whole number from %d to %d, not %s", least, most, shorten(text))
		return 0, false
	}
	return n, true
}
