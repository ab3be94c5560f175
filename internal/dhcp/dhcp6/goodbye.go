package dhcp6

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// A RELEASE or DECLINE is sent at most twice, and its REPLY waited for 1.7 s in all. RFC
// 8415, section 7.6, has four times and 15 s, for which whoever stops a container would
// have to wait when the server is gone.
const (
	goodbyeDelay = 500 * time.Millisecond
	maxGoodbyes  = 2
)

// Release tells the server that an address is no longer needed (RFC 8415, section
// 18.2.7): the caller must have stopped using it. That no server confirms is no error, the
// server takes the address back when its lifetime is over; that it cannot be told is.
func (c *Client) Release(ctx context.Context, held grant.Grant) error {
	return c.goodbye(ctx, dhcpv6.MessageTypeRelease, held)
}

// Decline tells the server that an address is another machine's already (RFC 8415,
// section 18.2.8). Errors are those of Release.
func (c *Client) Decline(ctx context.Context, held grant.Grant) error {
	return c.goodbye(ctx, dhcpv6.MessageTypeDecline, held)
}

func (c *Client) goodbye(ctx context.Context, kind dhcpv6.MessageType, held grant.Grant) error {
	if err := whole(&held); err != nil {
		return err
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	msg, err := c.message(kind, held.Address.Addr())
	if err != nil {
		return err
	}
	toServer(msg, &held)
	err = c.converse(ctx, talk{msg: msg, first: goodbyeDelay, tries: maxGoodbyes}, func(r *reply) verdict {
		if r.kind != dhcpv6.MessageTypeReply || !bytes.Equal(r.server, held.ServerID) {
			return ignored
		}
		return done // whatever its status: section 18.2.10.2
	})
	if errors.Is(err, grant.ErrTimeout) {
		c.config.Log.Info("the DHCPv6 server does not confirm", "message", kind.String(), "address", held.Address.Addr(), "server", held.Server)
		return nil
	}
	return err
}
