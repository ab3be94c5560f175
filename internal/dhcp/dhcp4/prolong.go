package dhcp4

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// Renew asks the server that granted an address to prolong it: REQUEST by unicast
// (RFC 2131, section 4.4.5, RENEWING). The address must be the interface's. It asks
// until ctx ends; its errors wrap grant.ErrNoAck, ErrNak or ctx's cause.
func (c *Client) Renew(ctx context.Context, held grant.Grant) (grant.Grant, error) {
	mac, err := hardware(held)
	if err != nil {
		return grant.Grant{}, err
	}
	msg, err := c.prolonging(held)
	if err != nil {
		return grant.Grant{}, err
	}
	t := &talk{msg: msg, hardware: mac, from: held.Address.Addr(), to: held.Server}
	return c.confirmed(ctx, t, held.Address.Addr(), held.Server)
}

// Rebind is Renew, of any server: REQUEST by broadcast (RFC 2131, section 4.4.5,
// REBINDING).
func (c *Client) Rebind(ctx context.Context, held grant.Grant) (grant.Grant, error) {
	msg, err := c.prolonging(held)
	if err != nil {
		return grant.Grant{}, err
	}
	t := broadcast(msg)
	t.from = held.Address.Addr()
	return c.confirmed(ctx, t, held.Address.Addr(), netip.Addr{})
}

func (c *Client) prolonging(held grant.Grant) (*dhcpv4.DHCPv4, error) {
	msg, err := c.message(dhcpv4.MessageTypeRequest)
	if err == nil {
		msg.ClientIPAddr = held.Address.Addr().AsSlice()
	}
	return msg, err
}

// Confirm asks any server whether an address that was granted some time ago may still
// be used: REQUEST with option 50 (RFC 2131, section 3.2, INIT-REBOOT). A server that
// knows nothing of it stays silent. Errors are those of Renew.
func (c *Client) Confirm(ctx context.Context, held grant.Grant) (grant.Grant, error) {
	msg, err := c.message(dhcpv4.MessageTypeRequest)
	if err != nil {
		return grant.Grant{}, err
	}
	setOption(msg, OptRequestedIP, held.Address.Addr().AsSlice())
	return c.confirmed(ctx, broadcast(msg), held.Address.Addr(), netip.Addr{})
}

// Release tells the server that an address is no longer needed (RFC 2131, section
// 4.4.6): from that address, since servers on Linux drop what comes from 0.0.0.0, and
// straight to the MAC that the ACK came from, since the interface may be deleted before
// an answer to ARP would come. There is no reply to wait for.
func (c *Client) Release(_ context.Context, held grant.Grant) error {
	mac, err := hardware(held)
	if err != nil {
		return err
	}
	msg, err := c.bare(dhcpv4.MessageTypeRelease)
	if err != nil {
		return err
	}
	msg.ClientIPAddr = held.Address.Addr().AsSlice()
	setOption(msg, OptServerID, held.Server.AsSlice())
	if err := c.wire.send(mac, held.Address.Addr(), held.Server, msg.ToBytes()); err != nil {
		return fmt.Errorf("cannot send RELEASE: %w", err)
	}
	return nil
}

// Decline tells the server that an address is another machine's already (RFC 2131,
// section 4.4.1). There is no reply to wait for.
func (c *Client) Decline(_ context.Context, held grant.Grant) error {
	msg, err := c.bare(dhcpv4.MessageTypeDecline)
	if err != nil {
		return err
	}
	setOption(msg, OptRequestedIP, held.Address.Addr().AsSlice())
	setOption(msg, OptServerID, held.Server.AsSlice())
	setOption(msg, OptMessage, []byte("another machine answered to ARP"))
	t := broadcast(msg)
	if err := c.wire.send(t.hardware, t.from, t.to, msg.ToBytes()); err != nil {
		return fmt.Errorf("cannot send DECLINE: %w", err)
	}
	return nil
}
