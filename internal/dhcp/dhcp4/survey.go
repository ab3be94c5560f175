package dhcp4

import (
	"context"
	"errors"
	"net"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// maxSurvey bounds what is kept of a LAN where somebody makes servers up.
const maxSurvey = 16

// Survey asks who would grant an address (DISCOVER), and takes nothing of what is offered:
// the first offer of each server until ctx ends with the cause grant.ErrTimeout. No offer is
// no error.
func (c *Client) Survey(ctx context.Context) ([]grant.Grant, error) {
	msg, err := c.message(dhcpv4.MessageTypeDiscover)
	if err != nil {
		return nil, err
	}
	var offers []grant.Grant
	seen := map[string]bool{}
	err = c.converse(ctx, broadcast(msg), func(reply *dhcpv4.DHCPv4, from net.HardwareAddr) (bool, error) {
		g, ok := c.offered(reply)
		if !ok {
			return false, nil
		}
		g.ServerMAC = from.String()
		if who := g.Server.String() + " " + g.ServerMAC; !seen[who] && len(offers) < maxSurvey {
			seen[who] = true
			offers = append(offers, g)
		}
		return false, nil
	})
	if errors.Is(err, grant.ErrTimeout) {
		err = nil
	}
	return offers, err
}
