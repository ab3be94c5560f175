package dhcp6

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// infinity is a time without end (RFC 8415, section 7.7).
const infinity = math.MaxUint32

// grant is what the reply grants: the wanted address if it is among the IA_NA's, else
// the first of them.
func (r *reply) grant(wanted netip.Addr) (grant.Grant, error) {
	if r.failed() {
		return grant.Grant{}, fmt.Errorf("the server%s", r.status)
	}
	var chosen iaAddr
	for _, a := range r.addrs {
		if a.valid > 0 && (!chosen.IsValid() || a.Addr == wanted) {
			chosen = a
		}
	}
	if !chosen.IsValid() {
		return grant.Grant{}, errors.New("it has no usable address for this client")
	}
	g := grant.Grant{
		Server: r.from, ServerID: r.server,
		Address: netip.PrefixFrom(chosen.Addr, 128),
		DNS:     r.dns, Search: r.search, NTP: r.ntp,
	}
	setTimes(&g, r.t1, r.t2, chosen)
	return g, nil
}

// setTimes replaces a T1 or T2 that is left to the client (RFC 8415, section 14.2) or
// would come too late to keep the address. An address that is valid without end is
// taken to be preferred without end: there is no renewal that could say otherwise.
func setTimes(g *grant.Grant, t1, t2 uint32, a iaAddr) {
	if a.valid == infinity {
		return
	}
	g.T1, g.T2, g.Preferred, g.Lifetime = seconds(t1), seconds(t2), seconds(a.preferred), seconds(a.valid)
	base := g.Preferred
	if base == 0 { // not for new connections, but no reason to renew it again and again
		base = g.Lifetime
	}
	if t1 >= a.valid {
		g.T1 = 0
	}
	if g.T2 == 0 || t2 >= a.valid {
		g.T2 = max(base/10*8, g.T1)
	}
	if g.T1 == 0 {
		g.T1 = min(base/2, g.T2)
	}
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// failed tells whether the server says that it did not do what it was asked for.
func (r *reply) failed() bool { return !r.status.ok() }

// ended tells whether the server takes addr back.
func (r *reply) ended(addr netip.Addr) bool {
	for _, a := range r.addrs {
		if a.Addr == addr {
			return a.valid == 0
		}
	}
	return false
}

// refusal is for a reply that failed or ends an address.
func (r *reply) refusal() error {
	if r.failed() {
		return fmt.Errorf("%w: server %s%s", grant.ErrNak, r.from, r.status)
	}
	return fmt.Errorf("%w: server %s takes it back", grant.ErrNak, r.from)
}
