package dhcp6

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// Options that this package reads or writes (RFC 8415, section 21; 3646; 4075; 4704; 5908).
const (
	optClientID    = 1
	optServerID    = 2
	optIANA        = 3
	optIAAddr      = 5
	optORO         = 6
	optPreference  = 7
	optElapsedTime = 8
	optStatusCode  = 13
	optRapidCommit = 14
	optDNS         = 23
	optSearch      = 24
	optSNTP        = 31
	optFQDN        = 39
	optNTP         = 56
)

// Reserved tells whether an option belongs to the protocol, so that a configuration
// which set it would break the exchange: those that this package sets, other kinds of
// addresses (4, 25), relays' (9), authentication (11), what only servers send (7, 12,
// 13) and reconfiguration (19, 20).
func Reserved(code uint16) bool {
	switch code {
	case optClientID, optServerID, optIANA, 4, optIAAddr, optORO, optPreference, optElapsedTime, 9, 11, 12,
		optStatusCode, optRapidCommit, 19, 20, 25, optFQDN:
		return true
	}
	return false
}

// message has what every message of the client's to every server has, and the IA_NA
// with addr if that is valid.
func (c *Client) message(kind dhcpv6.MessageType, addr netip.Addr) (*dhcpv6.Message, error) {
	msg, err := dhcpv6.NewMessage() // with a random transaction id
	if err != nil {
		return nil, fmt.Errorf("cannot make a DHCPv6 message: %w", err)
	}
	msg.MessageType = kind
	p := &c.config.Params
	add(msg, optClientID, p.DUID)
	add(msg, optElapsedTime, []byte{0, 0})
	ia := binary.BigEndian.AppendUint32(nil, p.IAID)
	ia = append(ia, make([]byte, 8)...) // T1, T2: the server's choice
	if addr.IsValid() {
		ia = append(ia, 0, optIAAddr, 0, 24)
		ia = append(ia, addr.AsSlice()...)
		ia = append(ia, make([]byte, 8)...) // lifetimes: the server's choice
	}
	add(msg, optIANA, ia)
	for _, o := range p.Options {
		add(msg, o.Code, o.Value)
	}
	if kind == dhcpv6.MessageTypeRelease || kind == dhcpv6.MessageTypeDecline {
		return msg, nil // RFC 8415, section 18.2.7; RFC 4704, section 5
	}
	add(msg, optORO, p.oro())
	if p.FQDN != "" {
		add(msg, optFQDN, fqdnOption(p.FQDN))
	}
	return msg, nil
}

func add(msg *dhcpv6.Message, code uint16, value []byte) {
	msg.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionCode(code), OptionData: value})
}

func (p *Params) oro() []byte {
	codes := []uint16{optDNS, optSearch, optNTP}
	var b []byte
	for _, code := range append(codes, p.Requested...) {
		if len(b) < 2*len(codes) || !slices.Contains(codes, code) {
			b = binary.BigEndian.AppendUint16(b, code)
		}
	}
	return b
}

// fqdnOption asks the server to put name's addresses into the DNS (RFC 4704, section
// 4.1, flag S). A name of one label is a partial one, which has no end (section 4.2).
func fqdnOption(name string) []byte {
	const server = 1
	b := []byte{server}
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	if strings.Contains(name, ".") {
		b = append(b, 0)
	}
	return b
}

// setElapsed writes the hundredths of a second since the exchange began (RFC 8415,
// section 21.9).
func setElapsed(msg *dhcpv6.Message, elapsed time.Duration) {
	value := uint16(min(elapsed/(10*time.Millisecond), 0xffff))
	msg.UpdateOption(&dhcpv6.OptionGeneric{
		OptionCode: optElapsedTime, OptionData: binary.BigEndian.AppendUint16(nil, value),
	})
}

// toServer addresses a message to the server that granted held.
func toServer(msg *dhcpv6.Message, held *grant.Grant) { add(msg, optServerID, held.ServerID) }
