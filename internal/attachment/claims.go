package attachment

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/net-porter/net-porter/internal/netns"
)

// Claims are what a request may have only if nobody else has it, or not too much of it.
type Claims struct {
	// IPs and MAC are addresses of the caller's choice, which no other attachment of the
	// resource may hold.
	IPs []netip.Addr
	MAC string // lower-case; "" for none
	// MostOnResource and MostInAll bound how many attachments the user has with this one;
	// 0: they do not.
	MostOnResource, MostInAll int
}

// HeldError says that another attachment of the resource holds an address that was asked
// for. It is ErrHeld to errors.Is.
type HeldError struct {
	Address string
	Own     bool // the other one is the same user's
}

// ErrHeld says that an address that was asked for is another attachment's.
var ErrHeld = errors.New("another attachment of the resource holds the address")

// Error names the address.
func (e *HeldError) Error() string {
	if e.Own {
		return fmt.Sprintf("%s is held by another attachment of yours on this resource", e.Address)
	}
	return fmt.Sprintf("%s is held by another attachment on this resource", e.Address)
}

// Unwrap makes a HeldError ErrHeld.
func (e *HeldError) Unwrap() error { return ErrHeld }

// QuotaError says that a user has as many attachments as they may. It is ErrQuota to
// errors.Is.
type QuotaError struct {
	Most     int
	Resource string // "" for all resources together
}

// ErrQuota says that a user has as many attachments as they may.
var ErrQuota = errors.New("as many attachments as allowed")

// Error says how many, and where.
func (e *QuotaError) Error() string {
	if e.Resource == "" {
		return fmt.Sprintf("you have %d attachments, on all resources together, and may have no more", e.Most)
	}
	return fmt.Sprintf("you have %d attachments on resource %s, and may have no more", e.Most, e.Resource)
}

// Unwrap makes a QuotaError ErrQuota.
func (e *QuotaError) Unwrap() error { return ErrQuota }

// conflict looks whether the claims of a request hold beside what there is, and returns
// the attachments in the way. mu is held.
func (m *Manager) conflict(q Request) (blockers []*Record, err error) {
	c := &q.Claims
	var onResource, inAll []*Record
	for _, other := range m.records {
		if other.Key == q.Key {
			continue
		}
		if other.UID == q.UID {
			inAll = append(inAll, other)
			if other.Resource == q.Resource {
				onResource = append(onResource, other)
			}
		}
		if len(c.IPs) == 0 && c.MAC == "" || other.Resource != q.Resource {
			continue
		}
		if address := m.holds(other, c); address != "" {
			return []*Record{other}, &HeldError{Address: address, Own: other.UID == q.UID}
		}
	}
	switch {
	case c.MostOnResource > 0 && len(onResource) >= c.MostOnResource:
		return onResource, &QuotaError{c.MostOnResource, q.Resource}
	case c.MostInAll > 0 && len(inAll) >= c.MostInAll:
		return inAll, &QuotaError{c.MostInAll, ""}
	}
	return nil, nil
}

// holds returns which of the claimed addresses a record has, now or as soon as it is made.
// What its container has given itself is none of them: nobody is kept from what was granted
// to them by somebody who just uses it.
func (m *Manager) holds(r *Record, c *Claims) string {
	if c.MAC != "" && r.chosenMAC() == c.MAC {
		return c.MAC
	}
	if len(c.IPs) == 0 {
		return ""
	}
	var held []netip.Addr
	held = append(held, r.Static...)
	if v := m.View(r); v.CNI != nil {
		for _, ip := range withoutLearned(r, v.CNI).IPs {
			held = append(held, prefixOf(ip).Addr())
		}
	}
	for _, ip := range c.IPs {
		if slices.Contains(held, ip) {
			return ip.String()
		}
	}
	return ""
}

// releaseBlockers releases what is in the way of a request's claims and dead, of which
// the kernel's word may come a moment later than the next container.
func (m *Manager) releaseBlockers(ctx context.Context, q Request) {
	m.mu.Lock()
	blockers, err := m.conflict(q)
	m.mu.Unlock()
	for _, r := range blockers {
		// Who holds an address is waited for, since it may be about to die; of all of a
		// user's attachments it is asked.
		dead := errors.Is(err, ErrHeld) && m.isDead(ctx, r)
		if errors.Is(err, ErrQuota) && (netns.Lasting(r.NSID) || r.Namespace.BootID != m.boot) {
			lives, livesErr := m.lives(r)
			dead = livesErr == nil && !lives
		}
		if dead {
			_ = m.release(ctx, r)
		}
	}
}
