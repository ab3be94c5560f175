package dhcp4

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

const (
	// maxRequests is how often a REQUEST is sent before a new server is looked for.
	maxRequests = 3
	// maxRestarts bounds how often an acquisition begins again because a server took
	// back what it had offered, or because the address was in use.
	maxRestarts = 3
	// otherWait is how long other servers get to offer the address that was asked for
	// when one has offered another.
	otherWait = 500 * time.Millisecond
)

// offer is an OFFER that a REQUEST can be made from.
type offer struct {
	address netip.Addr
	server  netip.Addr
	from    net.HardwareAddr // where it came from
	xid     dhcpv4.TransactionID
	secs    uint16
}

// Acquire gets an address: DISCOVER, OFFER, REQUEST, ACK (RFC 2131, section 3.1), and
// the ARP probe of it. Its errors wrap grant.ErrNoOffer, ErrNoAck, ErrNak, ErrOther,
// ErrConflict or ctx's cause.
func (c *Client) Acquire(ctx context.Context, wish grant.Wish) (grant.Grant, error) {
	for again := 0; ; again++ {
		o, err := c.discover(ctx, wish)
		if err != nil {
			return grant.Grant{}, err
		}
		until := c.beginProbe(o.address)
		got, err := c.request(ctx, o)
		if err == nil {
			err = c.endProbe(ctx, until, got)
		}
		switch {
		case err == nil:
			return got, nil
		case errors.Is(err, grant.ErrConflict) && wish.Strict:
			return grant.Grant{}, err // it would be so again
		case (errors.Is(err, grant.ErrNak) || errors.Is(err, grant.ErrConflict)) && again+1 < maxRestarts:
			// A server that was told of a conflict offers another address next.
			c.config.Log.Warn("an address could not be had; asking again", "address", o.address, "error", err)
			if !wish.Strict {
				wish = grant.Wish{}
			}
		case errors.Is(err, grant.ErrNoAck) && ctx.Err() == nil:
		default:
			c.giveUp(o, err)
			return grant.Grant{}, err
		}
	}
}

// giveUp releases what a server may have granted to a REQUEST of which nobody waits for
// the end any more. What it has refused or was declined is not ours to release.
func (c *Client) giveUp(o offer, err error) {
	if errors.Is(err, grant.ErrNak) || errors.Is(err, grant.ErrConflict) {
		return
	}
	offered := grant.Grant{Server: o.server, ServerMAC: o.from.String(), Address: netip.PrefixFrom(o.address, 32)}
	if err := c.Release(context.Background(), offered); err != nil {
		c.config.Log.Warn("a server that may have granted an address could not be told that it is not used", "address", o.address, "error", err)
	}
}

func (c *Client) discover(ctx context.Context, wish grant.Wish) (offer, error) {
	msg, err := c.message(dhcpv4.MessageTypeDiscover)
	if err != nil {
		return offer{}, err
	}
	if wish.Address.IsValid() {
		setOption(msg, OptRequestedIP, wish.Address.AsSlice())
	}
	t := broadcast(msg)
	o, other := offer{xid: msg.TransactionID}, netip.Addr{}
	err = c.converse(ctx, t, func(reply *dhcpv4.DHCPv4, from net.HardwareAddr) (bool, error) {
		g, ok := c.offered(reply)
		if !ok {
			return false, nil
		}
		if wish.Strict && g.Address.Addr() != wish.Address {
			other = g.Address.Addr()
			t.endWithin(otherWait)
			return false, nil
		}
		o.address, o.server, o.from, o.secs = g.Address.Addr(), g.Server, from, msg.NumSeconds
		return true, nil
	})
	switch {
	case !errors.Is(err, grant.ErrTimeout):
		return o, err
	case other.IsValid():
		return offer{}, fmt.Errorf("%w: asked for was %s, offered was %s; is it in use, reserved for another machine, or outside of the server's ranges?", grant.ErrOther, wish.Address, other)
	}
	return offer{}, fmt.Errorf("%w within %s%s", grant.ErrNoOffer, time.Since(c.start).Round(time.Second), c.badFrames())
}

// offered is what a reply offers; ok is false if it is no offer, or none that can be used.
func (c *Client) offered(reply *dhcpv4.DHCPv4) (g grant.Grant, ok bool) {
	if reply.MessageType() != dhcpv4.MessageTypeOffer {
		return g, false
	}
	g, err := parseGrant(reply, c.config.Wants)
	if err != nil {
		c.reject("OFFER", err)
	}
	return g, err == nil
}

// request asks for what was offered.
func (c *Client) request(ctx context.Context, o offer) (grant.Grant, error) {
	msg, err := c.message(dhcpv4.MessageTypeRequest)
	if err != nil {
		return grant.Grant{}, err
	}
	// The same seconds as in the DISCOVER (RFC 2131, section 3.1), and its transaction.
	msg.TransactionID, msg.NumSeconds = o.xid, o.secs
	setOption(msg, OptRequestedIP, o.address.AsSlice())
	setOption(msg, OptServerID, o.server.AsSlice())
	t := broadcast(msg)
	t.tries = maxRequests
	return c.confirmed(ctx, t, o.address, o.server)
}

// confirmed converses until an ACK for the address comes from the server, from any if
// none is named. Its errors wrap grant.ErrNoAck, ErrNak or ctx's cause.
func (c *Client) confirmed(ctx context.Context, t *talk, address, server netip.Addr) (got grant.Grant, err error) {
	err = c.converse(ctx, t, func(reply *dhcpv4.DHCPv4, from net.HardwareAddr) (bool, error) {
		said, err := parseServer(reply)
		if err != nil || server.IsValid() && said != server {
			return false, nil
		}
		switch reply.MessageType() {
		case dhcpv4.MessageTypeNak:
			return true, fmt.Errorf("%w: server %s%s", grant.ErrNak, said, serverText(reply))
		case dhcpv4.MessageTypeAck:
		default:
			return false, nil
		}
		g, err := parseGrant(reply, c.config.Wants)
		if err == nil && g.Address.Addr() != address {
			err = fmt.Errorf("it grants %s, asked for was %s", g.Address.Addr(), address)
		}
		if err != nil {
			c.reject("ACK", err)
			return false, nil
		}
		got, got.ServerMAC = g, from.String()
		return true, nil
	})
	if errors.Is(err, grant.ErrTimeout) {
		who := "server " + server.String() + " has not answered"
		if !server.IsValid() {
			who = "no server has answered"
		}
		err = fmt.Errorf("%w: %s%s", grant.ErrNoAck, who, c.badFrames())
	}
	return got, err
}
