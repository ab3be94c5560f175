package dhcp6

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// Renew asks the server that granted an address to prolong it: RENEW (RFC 8415, section
// 18.2.4). It asks until ctx ends; its errors wrap grant.ErrNoAck or ErrNak. A server
// that has forgotten the address (NoBinding) is asked to grant it again (section
// 18.2.10.1).
func (c *Client) Renew(ctx context.Context, held grant.Grant) (grant.Grant, error) {
	return c.prolong(ctx, dhcpv6.MessageTypeRenew, held)
}

// Rebind is Renew, of any server: REBIND (RFC 8415, section 18.2.5). A server without
// addresses to give does not speak for the one that granted this one, so that
// NoAddrsAvail is no refusal here.
func (c *Client) Rebind(ctx context.Context, held grant.Grant) (grant.Grant, error) {
	return c.prolong(ctx, dhcpv6.MessageTypeRebind, held)
}

// Confirm asks any server whether an address that was granted some time ago may still be
// used. It is Rebind: CONFIRM (RFC 8415, section 18.2.3) is answered with whether the
// address fits the link, not with whether the client still has it or for how long, and
// these are what a daemon must know that was away.
func (c *Client) Confirm(ctx context.Context, held grant.Grant) (grant.Grant, error) {
	return c.Rebind(ctx, held)
}

func (c *Client) prolong(ctx context.Context, kind dhcpv6.MessageType, held grant.Grant) (grant.Grant, error) {
	if err := whole(&held); err != nil {
		return grant.Grant{}, err
	}
	if err := c.begin(ctx); err != nil {
		return grant.Grant{}, err
	}
	addr := held.Address.Addr()
	msg, err := c.message(kind, addr)
	if err != nil {
		return grant.Grant{}, err
	}
	anybody := kind == dhcpv6.MessageTypeRebind
	refusal := done
	if anybody {
		refusal = kept // another server may know better
	} else {
		toServer(msg, &held)
	}
	var granted, unbound grant.Grant
	var refused error
	err = c.converse(ctx, talk{msg: msg}, func(r *reply) verdict {
		if r.kind != dhcpv6.MessageTypeReply || !anybody && !bytes.Equal(r.server, held.ServerID) {
			return ignored
		}
		g, err := r.grant(addr)
		switch {
		case err == nil && g.Address == held.Address:
			granted = g
			return done
		case r.status.code == iana.StatusNoBinding:
			unbound = grant.Grant{Server: r.from, ServerID: r.server, Address: held.Address}
			return refusal
		case r.ended(addr) || r.status.code == iana.StatusNotOnLink || r.status.code == iana.StatusNoAddrsAvail && !anybody:
			refused = r.refusal()
			return refusal
		case err == nil: // section 18.2.10.1: what is not mentioned is as it was
			err = fmt.Errorf("it does not mention %s", addr)
		}
		c.unusable(r, err)
		return ignored
	})
	switch {
	case errors.Is(err, grant.ErrTimeout):
		return grant.Grant{}, c.noAck(fmt.Sprintf("%s for %s is not answered", kind, addr))
	case err != nil:
		return grant.Grant{}, err
	case granted.Address.IsValid():
		return granted, nil
	case unbound.Address.IsValid():
		return c.requestAgain(ctx, &unbound)
	}
	return grant.Grant{}, refused
}

// requestAgain asks a server that knows nothing of an address to grant it.
func (c *Client) requestAgain(ctx context.Context, held *grant.Grant) (grant.Grant, error) {
	g, err := c.request(ctx, held)
	if err != nil {
		return grant.Grant{}, err
	}
	if g.Address != held.Address {
		c.giveBack(&g)
		return grant.Grant{}, fmt.Errorf("%w: server %s has forgotten it and grants %s instead", grant.ErrNak, g.Server, g.Address.Addr())
	}
	return g, nil
}
