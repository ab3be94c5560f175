package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// maxDUID is the longest DUID: a type and 128 bytes (RFC 8415, section 11.1).
const (
	minDUID = 3
	maxDUID = 130
)

// Params is what a client says of itself and asks for in every message to every server.
type Params struct {
	DUID []byte `json:"duid"` // option 1
	IAID uint32 `json:"iaid"` // of the one IA_NA (option 3)
	// Requested is asked for (option 6) besides DNS servers, domain search list and NTP
	// servers.
	Requested []uint16       `json:"requested,omitempty"`
	Options   []grant.Option `json:"options,omitempty"`
	// FQDN is the name that the server may put into the DNS (option 39, RFC 4704); a name
	// of one label is completed by the server. Empty: none.
	FQDN string `json:"fqdn,omitempty"`
}

// Config is what a Client is made of.
type Config struct {
	Name  string // of the interface, for errors
	Index int    // of the interface
	Params
	Log *slog.Logger
	// BadFrame is called for a frame that claimed to be a reply to this client and could
	// not be used.
	BadFrame func()
	// Strays is how many messages that answer none of the client's are passed over in an
	// exchange, since somebody who guesses may send them; 0: any number.
	Strays int
}

// Client holds one exchange after another with DHCPv6 servers on one interface. It keeps
// nothing of what they come to. It is used by one goroutine.
//
// Every exchange first waits for the interface's link-local address. Its errors wrap
// [grant.ErrLinkDown] when there is none until ctx ends with the cause
// [grant.ErrTimeout]; when ctx ends for any other reason they wrap its cause.
type Client struct {
	config Config
	wire   wire

	start    time.Time // of the exchange
	bad      int       // frames that could not be used
	lastText string
	said     string // by the last server that had no address to give
	strays   int
}

// Open must be called inside the interface's namespace; the client then works from
// anywhere. The interface should be up. The error says what is wrong with the
// parameters, or that IPv6 is disabled on the interface.
func Open(c Config) (*Client, error) {
	if err := c.Params.validate(); err != nil {
		return nil, err
	}
	p, err := openPort(c.Name, c.Index)
	if err != nil {
		return nil, err
	}
	return &Client{config: c, wire: p}, nil
}

// Close lets go of all that refers to the namespace.
func (c *Client) Close() { c.wire.close() }

// validate is about what would break an exchange, not about what a user may send.
func (p *Params) validate() error {
	if len(p.DUID) < minDUID || len(p.DUID) > maxDUID {
		return fmt.Errorf("the DUID has %d bytes: want %d to %d (RFC 8415, section 11.1)", len(p.DUID), minDUID, maxDUID)
	}
	if p.FQDN != "" && !grant.ValidDomain(p.FQDN) {
		return fmt.Errorf("the name %.64q is no domain name", p.FQDN)
	}
	for _, o := range p.Options {
		if Reserved(o.Code) {
			return fmt.Errorf("option %d cannot be set: the DHCPv6 client sets it itself", o.Code)
		}
	}
	return nil
}

// begin makes the client ready for an exchange.
func (c *Client) begin(ctx context.Context) error {
	c.bad, c.lastText, c.said, c.strays = 0, "", "", 0
	err := c.wire.ready(ctx)
	c.start = time.Now() // nothing was said before (option 8)
	return err
}

// reject counts a frame that could not be used. The first of an exchange says why in the
// log; a flood adds nothing to it.
func (c *Client) reject(what string, err error) {
	c.config.BadFrame()
	c.bad++
	c.lastText = err.Error()
	if c.bad == 1 {
		c.config.Log.Warn("unusable DHCPv6 reply from the LAN ignored", "kind", what, "error", err)
	}
}

// noOffer and noAck say how far an exchange came before its time was over.
func (c *Client) noOffer() error {
	said := c.said
	if said != "" {
		said = ": " + said
	}
	return fmt.Errorf("%w within %s%s%s", grant.ErrNoOffer, time.Since(c.start).Round(time.Second), said, c.badFrames())
}

func (c *Client) noAck(server string) error {
	return fmt.Errorf("%w: %s%s", grant.ErrNoAck, server, c.badFrames())
}

func (c *Client) badFrames() string {
	if c.bad == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d unusable replies ignored, the last because: %s)", c.bad, c.lastText)
}

// whole tells whether a grant has what a message about it must say.
func whole(held *grant.Grant) error {
	if !usable(held.Address.Addr()) || len(held.ServerID) == 0 || len(held.ServerID) > maxDUID {
		return errors.New("the grant is not whole: it needs an IPv6 address and the DUID of its server")
	}
	return nil
}
