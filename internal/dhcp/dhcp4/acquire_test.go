package dhcp4

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// script is a wire on which a hand-written server answers: replies to the n-th message
// that was sent. With nothing left to answer, time is over.
type script struct {
	t       *testing.T
	replies func(n int, sent *dhcpv4.DHCPv4) [][]byte
	sent    []*dhcpv4.DHCPv4
	queue   [][]byte
	end     context.CancelCauseFunc

	claims  [][]byte // ARP packets that are there when a probe's answers are waited for
	arpSent [][]byte
	to      []destination
	onARP   func() // when answers to a probe are waited for
}

// destination is where a message went: a frame's MAC and a packet's address.
type destination struct{ mac, ip string }

func (s *script) send(dst net.HardwareAddr, _, to netip.Addr, message []byte) error {
	s.to = append(s.to, destination{dst.String(), to.String()})
	msg, err := dhcpv4.FromBytes(message)
	if err != nil {
		s.t.Error(err)
	}
	s.sent = append(s.sent, msg)
	s.queue = append(s.queue, s.replies(len(s.sent), msg)...)
	return nil
}

func (s *script) receive(context.Context, time.Time) ([]byte, net.HardwareAddr, error) {
	if len(s.queue) == 0 {
		if len(s.sent) > 20 {
			s.end(grant.ErrTimeout)
		}
		return nil, nil, os.ErrDeadlineExceeded
	}
	next := s.queue[0]
	s.queue = s.queue[1:]
	return next, net.HardwareAddr{2, 0, 0, 0, 0, 9}, nil
}

func (s *script) arp() arpWire           { return s }
func (s *script) close()                 {}
func (s *script) watch(netip.Addr) error { return nil }

func (s *script) sendARP(packet []byte) error {
	s.arpSent = append(s.arpSent, packet)
	return nil
}

func (s *script) receiveARP(context.Context, time.Time) ([]byte, error) {
	if s.onARP != nil {
		s.onARP()
	}
	if len(s.claims) == 0 {
		return nil, os.ErrDeadlineExceeded
	}
	next := s.claims[0]
	s.claims = s.claims[1:]
	return next, nil
}

var (
	testMAC      = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	testClientID = []byte("\x00some client")
)

// scripted is a client on a wire of the test's own.
func scripted(t *testing.T, replies func(n int, sent *dhcpv4.DHCPv4) [][]byte) (context.Context, *Client, *script) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	s := &script{t: t, replies: replies, end: cancel}
	return ctx, &Client{
		wire: s, start: time.Now(),
		config: Config{
			MAC: testMAC, Params: Params{ClientID: testClientID, Requested: []byte{1, 121, 3, 33, 26, 42, 6, 15, 119}},
			Log: slog.New(slog.DiscardHandler), BadFrame: func() {},
		},
	}, s
}

func runScript(t *testing.T, replies func(n int, sent *dhcpv4.DHCPv4) [][]byte) (grant.Grant, *script, int, error) {
	t.Helper()
	ctx, c, s := scripted(t, replies)
	bad := 0
	c.config.BadFrame = func() { bad++ }
	l, err := c.Acquire(ctx, grant.Wish{})
	return l, s, bad, err
}

// answer is what an honest server replies.
func answer(t *testing.T, sent *dhcpv4.DHCPv4) []byte {
	kind := dhcpv4.MessageTypeOffer
	if sent.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	return to(sent, reply(t, kind, nil))
}

func to(sent, msg *dhcpv4.DHCPv4) []byte {
	msg.TransactionID = sent.TransactionID
	return msg.ToBytes()
}

func TestHostileRepliesDoNotStopAnExchange(t *testing.T) {
	l, s, bad, err := runScript(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte {
		offer := answer(t, sent)
		overlong := slices.Clone(offer)
		overlong[240+1] = 255 // the first option's length
		var frames [][]byte
		for _, n := range []int{0, 1, 43, 235, 239, 240, 241, len(offer) / 2} {
			frames = append(frames, offer[:min(n, len(offer))])
		}
		frames = append(frames, overlong, bytes.Repeat([]byte{0xff}, 1500), make([]byte, 1500),
			to(sent, reply(t, sent.MessageType(), nil)), // a client's message as a reply
			to(sent, reply(t, dhcpv4.MessageTypeAck, func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(127, 0, 0, 1).To4() })),
			to(sent, reply(t, dhcpv4.MessageTypeOffer, func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4bcast.To4() })),
			to(sent, reply(t, dhcpv4.MessageTypeAck, with(OptServerID, 203, 0, 113, 66))), // another server's ACK
			to(sent, reply(t, dhcpv4.MessageTypeNak, with(OptServerID, 203, 0, 113, 66))),
			to(sent, reply(t, dhcpv4.MessageTypeAck, func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(192, 0, 2, 66).To4() })), // not what was asked for
			reply(t, dhcpv4.MessageTypeAck, nil).ToBytes(),                                                                     // another transaction
		)
		return append(frames, offer)
	})
	if err != nil || l.Address.String() != "192.0.2.10/24" || l.ServerMAC != "02:00:00:00:00:09" {
		t.Errorf("%+v, %v", l, err)
	}
	if len(s.sent) != 2 || bad == 0 {
		t.Errorf("%d messages sent, %d bad frames counted", len(s.sent), bad)
	}
}

func TestRequestNamesWhatWasOffered(t *testing.T) {
	_, s, _, err := runScript(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte { return [][]byte{answer(t, sent)} })
	if err != nil {
		t.Fatal(err)
	}
	discover, request := s.sent[0], s.sent[1]
	if !request.ServerIdentifier().Equal(net.IPv4(192, 0, 2, 1)) || !request.RequestedIPAddress().Equal(net.IPv4(192, 0, 2, 10)) ||
		request.TransactionID != discover.TransactionID || !request.ClientIPAddr.IsUnspecified() {
		t.Errorf("REQUEST %s", request.Summary())
	}
	for _, m := range s.sent {
		if !bytes.Equal(m.Options[OptClientID], testClientID) {
			t.Errorf("client id %q", m.Options[OptClientID])
		}
	}
}

func TestNak(t *testing.T) {
	nak := func(sent *dhcpv4.DHCPv4) [][]byte {
		return [][]byte{to(sent, reply(t, dhcpv4.MessageTypeNak, with(OptMessage, []byte("no\nway")...)))}
	}
	_, _, _, err := runScript(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte {
		if sent.MessageType() == dhcpv4.MessageTypeRequest {
			return nak(sent)
		}
		return [][]byte{answer(t, sent)}
	})
	if !errors.Is(err, grant.ErrNak) || bytes.ContainsRune([]byte(err.Error()), '\n') {
		t.Errorf("always refused: %v", err)
	}
	l, s, _, err := runScript(t, func(n int, sent *dhcpv4.DHCPv4) [][]byte {
		if n == 2 {
			return nak(sent)
		}
		return [][]byte{answer(t, sent)}
	})
	if err != nil || !l.Address.IsValid() || len(s.sent) != 4 {
		t.Errorf("refused once: %v after %d messages", err, len(s.sent))
	}
}

func TestErrorsSayHowFarItCame(t *testing.T) {
	_, s, _, err := runScript(t, func(int, *dhcpv4.DHCPv4) [][]byte { return nil })
	if !errors.Is(err, grant.ErrNoOffer) {
		t.Errorf("no server: %v", err)
	}
	if len(s.sent) < 2 {
		t.Error("the DISCOVER was not sent again")
	}
	_, _, _, err = runScript(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte {
		if sent.MessageType() == dhcpv4.MessageTypeDiscover {
			return [][]byte{answer(t, sent)}
		}
		return nil
	})
	if !errors.Is(err, grant.ErrNoAck) {
		t.Errorf("no ACK: %v", err)
	}
}

func TestFilterAdmitsOnlyRepliesToThisMAC(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	vm, err := bpf.NewVM(dhcpFilter(mac))
	if err != nil {
		t.Fatal(err)
	}
	packet := func(edit func(b []byte)) []byte {
		b := udpPacket(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.10"), reply(t, dhcpv4.MessageTypeOffer, nil).ToBytes())
		b[21], b[23] = serverPort, clientPort
		edit(b)
		return b
	}
	for name, tt := range map[string]struct {
		edit func(b []byte)
		want bool
	}{
		"a reply":         {func([]byte) {}, true},
		"TCP":             {func(b []byte) { b[9] = 6 }, false},
		"another port":    {func(b []byte) { b[23] = 69 }, false},
		"a request":       {func(b []byte) { b[28] = 1 }, false},
		"a fragment":      {func(b []byte) { b[7] = 1 }, false},
		"more fragments":  {func(b []byte) { b[6] = 0x20 }, false},
		"do not fragment": {func(b []byte) { b[6] = 0x40 }, true},
		"another MAC":     {func(b []byte) { b[28+28+5] = 7 }, false},
	} {
		n, err := vm.Run(packet(tt.edit))
		if err != nil || (n > 0) != tt.want {
			t.Errorf("%s: admitted %d bytes, %v", name, n, err)
		}
	}
}

func TestPacketSurvivesItsOwnParser(t *testing.T) {
	b := udpPacket(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.10"), []byte("odd"))
	if sum(b[:ipHeaderLen], 0) != 0xffff {
		t.Error("wrong IP checksum")
	}
	b[23] = clientPort
	if payload, ok := udpPayload(append(b, 0, 0, 0)); !ok || string(payload) != "odd" {
		t.Errorf("payload %q", payload)
	}
	for n := range b {
		udpPayload(b[:n])
	}
	for i := range 40 {
		c := slices.Clone(b)
		c[i%len(c)] ^= 0xff
		udpPayload(c)
	}
}

// Whoever hangs up after the REQUEST leaves nothing at the server, whether it has
// answered or not.
func TestWhatWasRequestedIsReleasedWhenNobodyWaits(t *testing.T) {
	for name, answers := range map[string]bool{"before the ACK": false, "after it": true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		_, c, s := scripted(t, func(_ int, sent *dhcpv4.DHCPv4) [][]byte {
			if sent.MessageType() == dhcpv4.MessageTypeRequest && !answers {
				cancel(context.Canceled)
				return nil
			}
			return [][]byte{answer(t, sent)}
		})
		if answers {
			c.config.Probe, s.onARP = true, func() { cancel(context.Canceled) }
		}
		if _, err := c.Acquire(ctx, grant.Wish{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		last := s.sent[len(s.sent)-1]
		if last.MessageType() != dhcpv4.MessageTypeRelease || !last.ClientIPAddr.Equal(net.IPv4(192, 0, 2, 10)) ||
			s.to[len(s.to)-1] != (destination{"02:00:00:00:00:09", "192.0.2.1"}) {
			t.Errorf("%s: the last message is %s", name, last.Summary())
		}
	}
}
