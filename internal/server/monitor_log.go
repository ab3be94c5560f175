package server

import (
	"context"
	"log/slog"
)

// logBroken logs which resources have become unusable or usable again, parent links apart.
func (m *monitor) logBroken(now map[string]string, offered *catalog) {
	log := m.server.log
	for name, why := range now {
		if why != m.broken[name] {
			log.Warn("a resource cannot be used", "resource", name, "error", why)
		}
	}
	for name := range m.broken {
		if _, configured := offered.resources[name]; configured && now[name] == "" {
			log.Info("a resource can be used again", "resource", name)
		}
	}
}

// logParent logs what has become of a parent link, how many attachments were made on it,
// and with how many of the resource something is wrong now.
func (m *monitor) logParent(p place, was, now condition, moves bool, attachments, faulty int) {
	level, what := slog.LevelWarn, "is another link than before"
	switch {
	case now.trouble != "":
		what = "is " + string(now.trouble)
		if moves {
			level = slog.LevelInfo // it comes and goes with the container that has it
		}
	case was.trouble != "":
		level, what = slog.LevelInfo, "is back"
		if was.good != 0 && was.good != now.good {
			what = "is back, as another link than before"
		}
	}
	m.server.log.Log(context.Background(), level, "the parent link of a resource "+what,
		"resource", p.resource, "parent", p.parent, "attachments", attachments, "faulty", faulty)
}
