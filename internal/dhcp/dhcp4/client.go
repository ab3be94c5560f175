package dhcp4

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// Params is what a client says of itself and asks for in every message to every server.
type Params struct {
	ClientID  []byte         `json:"client_id"` // option 61
	Options   []grant.Option `json:"options,omitempty"`
	Requested []byte         `json:"requested"` // option 55, in order
}

// Wants tells whether an option that a server sent is applied.
func (p *Params) Wants(code uint8) bool { return slices.Contains(p.Requested, code) }

// Config is what a Client is made of.
type Config struct {
	Index int // of the interface
	MAC   net.HardwareAddr
	Params
	// Probe: no address is used before other machines had a chance to say that it is
	// theirs.
	Probe bool
	Log   *slog.Logger
	// BadFrame is called for a frame that claimed to be a reply to this client and could
	// not be used.
	BadFrame func()
}

// Client holds one exchange after another with DHCP servers on one interface. It keeps
// nothing of what they come to. It is used by one goroutine.
type Client struct {
	config Config
	wire   wire
	start  time.Time

	bad      int // frames that could not be used
	lastText string
}

// Open must be called inside the interface's namespace; the client then works from
// anywhere. The interface must be up (packet(7), ENETDOWN).
func Open(c Config) (*Client, error) {
	p, err := openPort(c.Index, c.MAC)
	if err != nil {
		return nil, err
	}
	return &Client{config: c, wire: p, start: time.Now()}, nil
}

// Close lets go of all that refers to the namespace.
func (c *Client) Close() { c.wire.close() }

// message has what every message of the client's to every server has.
func (c *Client) message(kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	msg, err := c.bare(kind)
	if err != nil {
		return nil, err
	}
	for _, o := range c.config.Options {
		setOption(msg, uint8(o.Code), o.Value)
	}
	setOption(msg, OptParameterList, c.config.Requested)
	setOption(msg, OptMaxMessageSize, []byte{maxMessage >> 8, maxMessage & 0xff})
	return msg, nil
}

// bare has no more than RFC 2131, table 5, has for RELEASE and DECLINE.
func (c *Client) bare(kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	msg, err := dhcpv4.New(dhcpv4.WithHwAddr(c.config.MAC), dhcpv4.WithMessageType(kind)) // with a random transaction id
	if err != nil {
		return nil, fmt.Errorf("cannot make a DHCP message: %w", err)
	}
	setOption(msg, OptClientID, c.config.ClientID)
	return msg, nil
}

func setOption(msg *dhcpv4.DHCPv4, code uint8, value []byte) { msg.Options[code] = value }

// reject counts a frame that could not be used. The first says why in the log; a
// flood adds nothing to it.
func (c *Client) reject(what string, err error) {
	c.config.BadFrame()
	c.bad++
	c.lastText = err.Error()
	if c.bad == 1 {
		c.config.Log.Warn("unusable DHCP reply from the LAN ignored", "kind", what, "error", err)
	}
}

func (c *Client) badFrames() string {
	if c.bad == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d unusable replies ignored, the last because: %s)", c.bad, c.lastText)
}

// serverText is the text of a NAK (option 56), printable and short.
func serverText(msg *dhcpv4.DHCPv4) string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(msg.Options[OptMessage]))
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" says %q", text[:min(len(text), 100)])
}

// hardware is where the frames to a server go: straight to it, or to its relay.
func hardware(held grant.Grant) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(held.ServerMAC)
	if err != nil {
		return nil, fmt.Errorf("the server's MAC: %w", err)
	}
	if len(mac) != 6 || held.Address.Addr() == (netip.Addr{}) {
		return nil, errors.New("the grant is not whole")
	}
	return mac, nil
}
