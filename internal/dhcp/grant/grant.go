// Package grant owns what an exchange with a DHCP server can come to, in either
// family: what the server granted, or why there is nothing.
package grant

import (
	"net/netip"
	"time"
)

// Grant is what a DHCP server granted, and what is needed to prolong it or to give it
// back. It says nothing of when that was: its times are lengths from the ACK (or
// REPLY) on.
type Grant struct {
	// Server is who granted it. DHCPv4: the server's identifier (option 54). DHCPv6: the
	// address that its REPLY came from.
	Server netip.Addr `json:"server"`
	// ServerMAC is where a DHCPv4 server's ACK came from: itself or its relay.
	ServerMAC string `json:"server_mac,omitempty"`
	// ServerID is a DHCPv6 server's DUID (RFC 8415, section 11).
	ServerID []byte `json:"server_id,omitempty"`

	Address netip.Prefix `json:"address"`           // DHCPv6: of length 128
	Routers []netip.Addr `json:"routers,omitempty"` // option 3, if it applies
	Routes  []Route      `json:"routes,omitempty"`  // all that apply, in the order to add them
	DNS     []netip.Addr `json:"dns,omitempty"`     // option 6; DHCPv6: 23
	Domain  string       `json:"domain,omitempty"`  // option 15
	Search  []string     `json:"search,omitempty"`  // option 119; DHCPv6: 24
	NTP     []netip.Addr `json:"ntp,omitempty"`     // option 42; DHCPv6: 56
	MTU     int          `json:"mtu,omitempty"`     // option 26, bytes; 0: not said

	// T1 and T2 are when to renew and to rebind, Lifetime when the address must not be
	// used any more (RFC 2131, section 4.4.5; RFC 8415, section 14.2). All are 0 for a
	// grant without end.
	T1       time.Duration `json:"t1,omitempty"`
	T2       time.Duration `json:"t2,omitempty"`
	Lifetime time.Duration `json:"lifetime,omitempty"`
	// Preferred is how long new connections may use a DHCPv6 address (RFC 4862, section
	// 5.5.4). It is recorded only: leases are renewed long before.
	Preferred time.Duration `json:"preferred,omitempty"`
}

// Route is a route that a grant brings.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	Gateway     netip.Addr   `json:"gateway"` // unspecified: the destination is on the link
}

// String is the route as ip-route(8) writes it.
func (r Route) String() string {
	if !r.Gateway.IsValid() || r.Gateway.IsUnspecified() {
		return r.Destination.String() + " scope link"
	}
	return r.Destination.String() + " via " + r.Gateway.String()
}

// Infinite says whether a grant has no end.
func (g *Grant) Infinite() bool { return g.Lifetime == 0 }

// Option is a DHCP option as it stands in a message (RFC 2132, section 2; RFC 8415,
// section 21.1).
type Option struct {
	Code  uint16 `json:"code"`
	Value []byte `json:"value"`
}

// Wish is the address that a client would like to have.
type Wish struct {
	// Address is asked for when valid (DHCPv4: option 50; DHCPv6: in the IA).
	Address netip.Addr
	// Strict: with another address the client is not content.
	Strict bool
}
