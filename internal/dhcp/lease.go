package dhcp

import (
	"net/netip"
	"time"
)

// Lease is what a DHCP server granted, with all that is needed to release or renew
// it in another run of the daemon.
type Lease struct {
	ID        string `json:"id"`        // CNI container id, "<uid>.<container id>"
	Interface string `json:"interface"` // name inside the namespace
	Network   string `json:"network"`   // name of the conflist

	// Server is the server's identifier (option 54), the address to renew and release
	// at. ServerMAC is where its ACK came from: the server itself or its relay.
	Server    netip.Addr `json:"server"`
	ServerMAC string     `json:"server_mac"`

	MAC      string `json:"mac"` // of the interface when the lease was acquired
	ClientID []byte `json:"client_id"`
	HostName string `json:"host_name,omitempty"`
	// Options are what the client sends besides the client id, Requested what it asks
	// for (option 55), Priority the metric of its routes; a renewal repeats them.
	Options   []Option `json:"options,omitempty"`
	Requested []byte   `json:"requested"`
	Priority  int      `json:"priority,omitempty"`

	Address netip.Prefix `json:"address"`
	Routers []netip.Addr `json:"routers,omitempty"` // option 3, if it applies
	Routes  []Route      `json:"routes,omitempty"`  // all that apply, in the order to add them
	DNS     []netip.Addr `json:"dns,omitempty"`     // option 6
	Domain  string       `json:"domain,omitempty"`  // option 15
	Search  []string     `json:"search,omitempty"`  // option 119
	NTP     []netip.Addr `json:"ntp,omitempty"`     // option 42
	MTU     int          `json:"mtu,omitempty"`     // option 26, bytes; 0: not said

	// Times of RFC 2131, section 4.4.5, by the wall clock. For an infinite lease T1,
	// T2 and Expiry are zero.
	Acquired time.Time `json:"acquired"`
	T1       time.Time `json:"t1,omitzero"`
	T2       time.Time `json:"t2,omitzero"`
	Expiry   time.Time `json:"expiry,omitzero"`
}

// Route is a route that a lease brings.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	Gateway     netip.Addr   `json:"gateway"` // 0.0.0.0: the destination is on the link
}

func (l *Lease) key() key { return key{l.ID, l.Interface} }
