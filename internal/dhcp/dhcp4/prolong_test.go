package dhcp4

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

var held = grant.Grant{
	Server: netip.MustParseAddr("192.0.2.1"), ServerMAC: "02:00:00:00:00:09", Address: netip.MustParsePrefix("192.0.2.10/24"),
}

// The fields of each message that prolongs a lease are those of RFC 2131, table 4.
func TestMessagesThatProlong(t *testing.T) {
	for _, tt := range []struct {
		name              string
		do                func(*Client, context.Context, grant.Grant) (grant.Grant, error)
		ciaddr, requested bool
		unicast           bool
	}{
		{"renewing", (*Client).Renew, true, false, true},
		{"rebinding", (*Client).Rebind, true, false, false},
		{"reboot", (*Client).Confirm, false, true, false},
	} {
		ctx, c, s := scripted(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte { return [][]byte{answer(t, sent)} })
		got, err := tt.do(c, ctx, held)
		if err != nil || got.Address != held.Address || got.ServerMAC != "02:00:00:00:00:09" {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
			continue
		}
		m := s.sent[0]
		if m.MessageType() != dhcpv4.MessageTypeRequest || m.Options.Has(dhcpv4.OptionServerIdentifier) ||
			m.ClientIPAddr.Equal(net.IPv4(192, 0, 2, 10)) != tt.ciaddr || m.Options.Has(dhcpv4.OptionRequestedIPAddress) != tt.requested ||
			!bytes.Equal(m.Options[OptClientID], testClientID) {
			t.Errorf("%s: %s", tt.name, m.Summary())
		}
		want := destination{"ff:ff:ff:ff:ff:ff", "255.255.255.255"}
		if tt.unicast {
			want = destination{held.ServerMAC, "192.0.2.1"}
		}
		if s.to[0] != want {
			t.Errorf("%s: sent to %v, want %v", tt.name, s.to[0], want)
		}
	}
}

// Any host of the LAN can answer; only the server that granted an address is heard
// while it is renewed, and nobody changes the address by an ACK.
func TestAnswersToARenewal(t *testing.T) {
	nak := func(sent *dhcpv4.DHCPv4, server ...byte) []byte {
		return to(sent, reply(t, dhcpv4.MessageTypeNak, func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4zero; setOption(m, OptServerID, server) }))
	}
	run := func(do func(*Client, context.Context, grant.Grant) (grant.Grant, error), replies func(sent *dhcpv4.DHCPv4) [][]byte) error {
		ctx, c, _ := scripted(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte { return replies(sent) })
		_, err := do(c, ctx, held)
		return err
	}
	foreign := func(sent *dhcpv4.DHCPv4) [][]byte { return [][]byte{nak(sent, 192, 0, 2, 66)} }
	own := func(sent *dhcpv4.DHCPv4) [][]byte { return [][]byte{nak(sent, 192, 0, 2, 1)} }
	moved := func(sent *dhcpv4.DHCPv4) [][]byte {
		return [][]byte{to(sent, reply(t, dhcpv4.MessageTypeAck, func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(192, 0, 2, 11).To4() }))}
	}
	for _, tt := range []struct {
		name    string
		do      func(*Client, context.Context, grant.Grant) (grant.Grant, error)
		replies func(*dhcpv4.DHCPv4) [][]byte
		want    error
	}{
		{"NAK of the server", (*Client).Renew, own, grant.ErrNak},
		{"NAK of another", (*Client).Renew, foreign, grant.ErrNoAck},
		{"rebinding: NAK of another", (*Client).Rebind, foreign, grant.ErrNak},
		{"ACK of another address", (*Client).Renew, moved, grant.ErrNoAck},
		{"silence", (*Client).Renew, func(*dhcpv4.DHCPv4) [][]byte { return nil }, grant.ErrNoAck},
	} {
		if err := run(tt.do, tt.replies); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestStrictWishWaitsForTheServerThatGrantsIt(t *testing.T) {
	wanted := netip.MustParseAddr("192.0.2.10")
	other := func(sent *dhcpv4.DHCPv4) []byte {
		return to(sent, reply(t, dhcpv4.MessageTypeOffer, func(m *dhcpv4.DHCPv4) {
			m.YourIPAddr = net.IPv4(192, 0, 2, 99).To4()
			setOption(m, OptServerID, []byte{192, 0, 2, 2})
		}))
	}
	ctx, c, s := scripted(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte {
		if sent.MessageType() == dhcpv4.MessageTypeDiscover {
			return [][]byte{other(sent), answer(t, sent)}
		}
		return [][]byte{answer(t, sent)}
	})
	got, err := c.Acquire(ctx, grant.Wish{Address: wanted, Strict: true})
	if err != nil || got.Address.Addr() != wanted || !s.sent[0].RequestedIPAddress().Equal(wanted.AsSlice()) {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, c, _ = scripted(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte { return [][]byte{other(sent)} })
	if _, err := c.Acquire(ctx, grant.Wish{Address: wanted, Strict: true}); !errors.Is(err, grant.ErrOther) {
		t.Errorf("only another address is offered: %v", err)
	}
}

func TestFQDN(t *testing.T) {
	for name, want := range map[string]string{
		"web":         "\x05\x00\x00\x03web",
		"web.lan":     "\x05\x00\x00\x03web\x03lan\x00",
		"web.lan.":    "\x05\x00\x00\x03web\x03lan\x00",
		"a.b.example": "\x05\x00\x00\x01a\x01b\x07example\x00",
	} {
		if got := FQDN(name); !slices.Equal(got, []byte(want)) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
