package dhcp4

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

var (
	probed   = netip.MustParseAddr("192.0.2.10")
	somebody = net.HardwareAddr{2, 0, 0, 0, 0, 7}
)

// RFC 5227, section 2.1.1, and what anybody on the LAN may send besides.
func TestClaims(t *testing.T) {
	other, none := netip.MustParseAddr("192.0.2.66"), netip.IPv4Unspecified()
	replyTo := func(packet []byte) []byte { packet[7] = 2; return packet }
	vm, err := bpf.NewVM(arpFilter(probed))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		packet          []byte
		claim, admitted bool
	}{
		"a reply of its owner":          {replyTo(arpRequest(somebody, probed, none)), true, true},
		"its owner asks for another":    {arpRequest(somebody, probed, other), true, true},
		"its owner announces it":        {arpRequest(somebody, probed, probed), true, true},
		"another one probes for it":     {arpRequest(somebody, none, probed), false, false},
		"our own probe, sent back":      {arpRequest(testMAC, none, probed), false, false},
		"our own announcement":          {arpRequest(testMAC, probed, probed), false, true},
		"somebody wants to talk to us":  {arpRequest(somebody, other, probed), false, false},
		"of other addresses":            {arpRequest(somebody, other, other), false, false},
		"a reply from nobody for it":    {replyTo(arpRequest(somebody, none, probed)), false, false},
		"a multicast MAC":               {arpRequest(net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, probed, probed), false, true},
		"cut off":                       {arpRequest(somebody, probed, probed)[:27], false, false},
		"of another kind of network":    {append([]byte{0, 6}, arpRequest(somebody, probed, probed)[2:]...), false, true},
		"with longer addresses than is": {append([]byte{0, 1, 8, 0, 8}, arpRequest(somebody, probed, probed)[5:]...), false, true},
		"empty":                         {nil, false, false},
	} {
		if _, got := claims(tt.packet, testMAC, probed); got != tt.claim {
			t.Errorf("%s: a claim: %v, want %v", name, got, tt.claim)
		}
		n, err := vm.Run(append([]byte(nil), tt.packet...))
		if len(tt.packet) == arpLen && (err != nil || (n > 0) != tt.admitted) {
			t.Errorf("%s: the kernel's filter admits %d bytes, %v", name, n, err)
		}
	}
}

func probing(t *testing.T, claims ...[]byte) (*script, grant.Grant, error) {
	t.Helper()
	ctx, c, s := scripted(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte {
		if sent.MessageType() == dhcpv4.MessageTypeDecline {
			return nil
		}
		return [][]byte{answer(t, sent)}
	})
	c.config.Probe, s.claims = true, claims
	got, err := c.Acquire(ctx, grant.Wish{})
	return s, got, err
}

func TestAddressIsProbedBeforeItIsUsed(t *testing.T) {
	s, got, err := probing(t, arpRequest(somebody, netip.MustParseAddr("192.0.2.66"), netip.MustParseAddr("192.0.2.67")))
	if err != nil || got.Address.Addr() != probed {
		t.Fatalf("%+v, %v", got, err)
	}
	if len(s.arpSent) != 1 || !bytes.Equal(s.arpSent[0], arpRequest(testMAC, netip.IPv4Unspecified(), probed)) {
		t.Errorf("ARP sent: %x", s.arpSent)
	}
}

func TestConflictIsDeclinedAndAskedAgain(t *testing.T) {
	claim := arpRequest(somebody, probed, probed)
	s, _, err := probing(t, claim)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []dhcpv4.MessageType
	for _, m := range s.sent {
		kinds = append(kinds, m.MessageType())
	}
	if len(kinds) != 5 || kinds[2] != dhcpv4.MessageTypeDecline {
		t.Fatalf("sent %v", kinds)
	}
	decline := s.sent[2]
	if !decline.RequestedIPAddress().Equal(probed.AsSlice()) || !decline.ServerIdentifier().Equal(net.IPv4(192, 0, 2, 1)) ||
		!decline.ClientIPAddr.IsUnspecified() || !bytes.Equal(decline.Options[OptClientID], testClientID) {
		t.Errorf("DECLINE %s", decline.Summary())
	}

	// A machine that claims whatever is granted does not make it go on for ever.
	s, _, err = probing(t, claim, claim, claim, claim, claim)
	if !errors.Is(err, grant.ErrConflict) || len(s.sent) != 3*maxRestarts {
		t.Errorf("%v after %d messages", err, len(s.sent))
	}
}

func TestProbeOfAnAddressInUse(t *testing.T) {
	ctx, c, s := scripted(t, func(int, *dhcpv4.DHCPv4) [][]byte { return nil })
	if err := c.Probe(ctx, probed, time.Millisecond); err != nil {
		t.Errorf("nobody claims it: %v", err)
	}
	s.claims = [][]byte{arpRequest(somebody, probed, probed)}
	if err := c.Probe(ctx, probed, time.Millisecond); !errors.Is(err, grant.ErrConflict) {
		t.Errorf("%v", err)
	}
}

// FuzzARP feeds what a host of the LAN can send.
func FuzzARP(f *testing.F) {
	f.Add(arpRequest(somebody, probed, probed))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, packet []byte) {
		if who, ok := claims(packet, testMAC, probed); ok && (bytes.Equal(who, testMAC) || len(who) != 6) {
			t.Errorf("a claim of %s", who)
		}
	})
}
