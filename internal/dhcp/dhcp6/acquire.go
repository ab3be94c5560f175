package dhcp6

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

const (
	// maxRequests is how often a REQUEST is sent before a new server is looked for.
	maxRequests = 3
	// maxRefusals is how often an exchange begins again after one.
	maxRefusals = 2
)

// offer is an ADVERTISE that a REQUEST can be made from, or with Rapid Commit a grant.
type offer struct {
	grant.Grant
	committed bool
}

// Acquire runs until a server grants an address or ctx ends: SOLICIT, ADVERTISE,
// REQUEST, REPLY (RFC 8415, section 18.2.1), or SOLICIT and REPLY where the server does
// Rapid Commit. The wish goes into the IA_NA; a server that offers it is preferred to
// others, and one that refused or did not confirm is asked again only when there is no
// other. Errors wrap grant.ErrNoOffer, ErrNoAck, ErrNak, or ErrOther: no server offers
// the address of a strict wish. No server then holds an address for this client, as far
// as they could be told.
func (c *Client) Acquire(ctx context.Context, wish grant.Wish) (grant.Grant, error) {
	if wish.Address.IsValid() && !usable(wish.Address) {
		return grant.Grant{}, fmt.Errorf("%s: %w: DHCPv6 is for global and unique local IPv6 addresses", wish.Address, grant.ErrOther)
	}
	wish.Strict = wish.Strict && wish.Address.IsValid()
	if err := c.begin(ctx); err != nil {
		return grant.Grant{}, err
	}
	var shunned []byte
	var before error // of the last server that was asked
	for refusals := 0; ; {
		o, err := c.solicit(ctx, wish, shunned)
		if errors.Is(err, grant.ErrNoOffer) && before != nil {
			err = before // says more
		}
		if err != nil {
			return grant.Grant{}, err
		}
		g := o.Grant
		if !o.committed {
			g, err = c.request(ctx, &o.Grant)
		}
		switch {
		case err == nil && wish.Strict && g.Address.Addr() != wish.Address:
			c.giveBack(&g)
			return grant.Grant{}, other(&g, wish)
		case err == nil:
			return g, nil
		case errors.Is(err, grant.ErrNak):
			if refusals++; refusals > maxRefusals {
				return grant.Grant{}, err
			}
		default: // its REPLY may have been lost
			c.giveBack(&o.Grant)
			if ctx.Err() != nil || !errors.Is(err, grant.ErrNoAck) {
				return grant.Grant{}, err
			}
		}
		shunned, before = o.ServerID, err
	}
}

func other(g *grant.Grant, wish grant.Wish) error {
	return fmt.Errorf("%w %s: server %s offers %s", grant.ErrOther, wish.Address, g.Server, g.Address.Addr())
}

// solicit finds the best offer that there is.
func (c *Client) solicit(ctx context.Context, wish grant.Wish, shunned []byte) (offer, error) {
	msg, err := c.message(dhcpv6.MessageTypeSolicit, wish.Address)
	if err != nil {
		return offer{}, err
	}
	if !wish.Strict { // what is not wanted must not be committed
		add(msg, optRapidCommit, nil)
	}
	var best offer
	var bestRank int
	err = c.converse(ctx, talk{msg: msg}, func(r *reply) verdict {
		committed := r.kind == dhcpv6.MessageTypeReply
		if committed && (wish.Strict || !r.rapidCommit) {
			return ignored // RFC 8415, section 16.10 and 18.2.1
		}
		g, err := r.grant(wish.Address)
		if err != nil {
			c.unusable(r, err)
			return ignored
		}
		if committed {
			best = offer{Grant: g, committed: true}
			return done
		}
		rank := int(r.preference)
		if wish.Address.IsValid() && g.Address.Addr() != wish.Address {
			rank -= 1 << 8
		}
		if bytes.Equal(g.ServerID, shunned) {
			rank -= 1 << 9
		}
		if !best.Address.IsValid() || rank > bestRank {
			best, bestRank = offer{Grant: g}, rank
		}
		if rank == math.MaxUint8 { // section 18.2.1: wait for no other
			return done
		}
		return kept
	})
	switch {
	case errors.Is(err, grant.ErrTimeout):
		return offer{}, c.noOffer()
	case err == nil && wish.Strict && best.Address.Addr() != wish.Address:
		return offer{}, other(&best.Grant, wish)
	}
	return best, err
}

// request asks a server for what it offered (RFC 8415, section 18.2.2). The result may
// have another address.
func (c *Client) request(ctx context.Context, offered *grant.Grant) (grant.Grant, error) {
	addr := offered.Address.Addr()
	msg, err := c.message(dhcpv6.MessageTypeRequest, addr)
	if err != nil {
		return grant.Grant{}, err
	}
	toServer(msg, offered)
	var g grant.Grant
	var refused error
	err = c.converse(ctx, talk{msg: msg, tries: maxRequests}, func(r *reply) verdict {
		if r.kind != dhcpv6.MessageTypeReply || !bytes.Equal(r.server, offered.ServerID) {
			return ignored
		}
		var err error
		if g, err = r.grant(addr); err == nil {
			return done
		}
		if r.failed() || r.ended(addr) {
			refused = r.refusal()
			return done
		}
		c.unusable(r, err)
		return ignored
	})
	if errors.Is(err, grant.ErrTimeout) {
		return grant.Grant{}, c.noAck("server " + offered.Server.String())
	}
	if err == nil {
		err = refused
	}
	return g, err
}

// unusable takes note of a reply that grants nothing: a status is an honest answer.
func (c *Client) unusable(r *reply, err error) {
	if !r.failed() {
		c.reject(r.kind.String(), err)
		return
	}
	c.said = fmt.Sprintf("server %s%s", r.from, r.status)
}

// giveBack tells a server that what it committed is not wanted. It is sent once and not
// waited for: the error that follows has waited long enough.
func (c *Client) giveBack(g *grant.Grant) {
	msg, err := c.message(dhcpv6.MessageTypeRelease, g.Address.Addr())
	if err == nil {
		toServer(msg, g)
		err = c.wire.send(msg.ToBytes())
	}
	if err != nil {
		c.config.Log.Warn("an address that is not wanted could not be given back", "address", g.Address.Addr(), "error", err)
	}
}
