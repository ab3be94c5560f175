package dhcp

import (
	"net/netip"
	"sync"
)

// maxMemory bounds what memory has, in leases.
const maxMemory = 4096

// memory has the addresses of leases that were given back, by who the client was: it
// asks for the same one next time, since some servers forget what was released. The zero
// value is ready for use.
type memory struct {
	mu    sync.Mutex
	known map[binding]netip.Addr
}

func (m *memory) remember(l *Lease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[binding]netip.Addr{}
	}
	for k := range m.known { // any one: it is a wish and no promise
		if len(m.known) < maxMemory {
			break
		}
		delete(m.known, k)
	}
	m.known[l.binding()] = l.Address.Addr()
}

// recall returns an invalid address for a client that is not known.
func (m *memory) recall(l *Lease) netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[l.binding()]
}
