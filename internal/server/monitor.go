package server

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/hostlink"
)

const (
	// lookEvery is how often what no message of the kernel told is looked for.
	lookEvery = time.Minute
	// scrapeAge is how old what metrics tell may be: whoever asks for them all the time
	// does not keep the daemon busy.
	scrapeAge = 5 * time.Second
)

// monitor follows what resources need: their network configurations, plugins and parent
// links. It logs what changes, once, and counts what is not well.
type monitor struct {
	server *Server
	again  chan struct{} // holds one value when a look was asked for

	mu      sync.Mutex // held during a look
	last    time.Time
	broken  map[string]string // why a resource cannot be used, parent links apart
	parents map[place]condition
	// recorded are parent links that attachments were made on, at the last look at those.
	recorded map[place]needs

	found atomic.Pointer[findings]
}

// place is where a parent link is needed.
type place struct{ resource, parent string }

// condition is how a parent link was at the last look.
type condition struct {
	trouble trouble
	index   int // of the link, or of the last one that there was
	good    int // the index of the last one that was as it has to be; 0: there was none
}

// findings are what the last look has found.
type findings struct {
	ready   map[string]bool // by resource
	faulty  map[string]int  // attachments, by resource
	names   map[string]bool // of parent links
	indexes map[int]bool
}

func newMonitor(s *Server) *monitor {
	m := &monitor{server: s, again: make(chan struct{}, 1)}
	m.found.Store(&findings{})
	return m
}

// Monitor follows what the resources need until ctx ends, by the kernel's news of the
// host's links, and once a minute. It logs what changes.
func (s *Server) Monitor(ctx context.Context) {
	m := s.monitor
	var watching sync.WaitGroup
	defer watching.Wait()
	if news, err := hostlink.Subscribe(); err != nil {
		s.log.Error("changes of parent links are seen once a minute only", "error", err)
	} else {
		watching.Go(func() {
			defer news.Close()
			if err := news.Watch(ctx, m.concerns, m.lookAgain); err != nil {
				s.log.Error("changes of parent links are seen once a minute only", "error", err)
			}
		})
	}
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	m.look(true)
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.again:
			m.look(false)
		case <-every.C:
			m.look(true)
		}
	}
}

// concerns says whether a link is, was or becomes a parent link.
func (m *monitor) concerns(index int, name string) bool {
	f := m.found.Load()
	return f.names == nil || f.indexes[index] || f.names[name]
}

// lookAgain has Monitor look soon. It does not wait.
func (m *monitor) lookAgain() {
	select {
	case m.again <- struct{}{}:
	default:
	}
}

// ResourcesReady says by name which resources can be used.
func (s *Server) ResourcesReady() map[string]bool { return s.monitor.recent().ready }

// FaultyAttachments is the number of attachments that something is wrong with although
// they are attached, by resource; every resource of an attachment is in it.
func (s *Server) FaultyAttachments() map[string]int { return s.monitor.recent().faulty }

// recent is what is known and not old. While somebody looks it is what was known before.
func (m *monitor) recent() *findings {
	if m.mu.TryLock() {
		if time.Since(m.last) > scrapeAge {
			m.lookLocked(true)
		}
		m.mu.Unlock()
	}
	return m.found.Load()
}

// look looks at what all resources need and, if asked to or if that has changed, at all
// attachments.
func (m *monitor) look(attachments bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookLocked(attachments)
}

func (m *monitor) lookLocked(attachments bool) {
	was, offered := m.found.Load(), m.server.catalog.Load()
	now := &findings{ready: map[string]bool{}, faulty: was.faulty, names: map[string]bool{}, indexes: map[int]bool{}}
	wanted, broken := map[place]needs{}, map[string]string{}
	for name := range offered.resources {
		network, err := offered.usable(name)
		if err != nil {
			broken[name] = problemOf(err).Error()
		}
		now.ready[name] = err == nil
		if network != nil {
			n := needsOf(network)
			for _, parent := range n.parents {
				wanted[place{name, parent}] = n
			}
		}
	}
	configured := maps.Clone(wanted)
	if attachments {
		m.recorded, _ = m.hangOn()
	}
	for p, n := range m.recorded {
		if _, ok := wanted[p]; !ok {
			wanted[p] = n
		}
	}
	parents := m.lookAtParents(wanted)
	for p, c := range parents {
		now.names[p.parent], now.indexes[c.index] = true, true
		if _, ok := configured[p]; ok && c.trouble != "" {
			now.ready[p.resource] = false
		}
	}
	changed := !maps.Equal(parents, m.parents)
	if attachments || changed {
		now.faulty = m.countFaulty()
		m.last = time.Now()
	}
	m.found.Store(now)
	m.logBroken(broken, offered)
	if changed {
		_, attached := m.hangOn()
		for p, c := range parents {
			if was, known := m.parents[p]; c != was && (known || c.trouble != "") {
				m.logParent(p, was, c, wanted[p].moves, attached[p], now.faulty[p.resource])
			}
		}
	}
	m.broken, m.parents = broken, parents
}

// hangOn says which parent links attachments were made on, whatever has become of their
// resources, and how many on each.
func (m *monitor) hangOn() (links map[place]needs, attached map[place]int) {
	links, attached = map[place]needs{}, map[place]int{}
	for _, r := range m.server.attachments.List() {
		if r.State != attachment.Attached {
			continue
		}
		n, err := m.server.needed.get(r.Resource, r.Config)
		if err != nil {
			continue // told where its faults are
		}
		for _, parent := range n.parents {
			p := place{r.Resource, parent}
			links[p] = n
			attached[p]++
		}
	}
	return links, attached
}

func (m *monitor) lookAtParents(wanted map[place]needs) map[place]condition {
	var view hostlink.View
	parents := map[place]condition{}
	for p, n := range wanted {
		link, trouble, err := n.look(&view, p.parent)
		if err != nil {
			m.server.log.Error("cannot look at a parent link", "resource", p.resource, "parent", p.parent, "error", err)
			parents[p] = m.parents[p] // what is not known has not changed
			continue
		}
		was := m.parents[p]
		c := condition{trouble, link.Index, was.good}
		if trouble == absent {
			c.index = was.index
		}
		if trouble == "" {
			c.good = link.Index
		}
		parents[p] = c
	}
	return parents
}

// countFaulty looks at all attachments.
func (m *monitor) countFaulty() map[string]int {
	faulty := map[string]int{}
	i := inspection{server: m.server} // as root: what is counted names nothing
	for _, r := range m.server.attachments.List() {
		count := 0
		if len(i.faults(m.server.attachments.View(r))) > 0 {
			count = 1
		}
		faulty[r.Resource] += count
	}
	return faulty
}
