package attachment

import (
	"log/slog"
	"strings"
)

// logOf is a logger for records about an attachment, by the names that records of
// decisions have for the same. It is to be asked before a removal, after which there are
// no leases to tell of.
func (m *Manager) logOf(r *Record) *slog.Logger {
	attrs := []any{"uid", r.UID, "user", r.User, "resource", r.Resource, "container", r.ContainerID, "container_name", r.Container,
		"interface", r.Interface, "state", r.State, "netns", r.Namespace.String()}
	if v := m.View(r); v.CNI != nil {
		var addresses []string
		for _, ip := range v.CNI.IPs {
			addresses = append(addresses, prefixOf(ip).String())
		}
		attrs = append(attrs, "addresses", strings.Join(addresses, ","), "mac", strings.Join(r.MACs(), ","))
	}
	return m.log.With(attrs...)
}
