package dhcp6

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

const testIAID = 0x01020304

var (
	testAddr   = netip.MustParseAddr("2001:db8:1::10")
	otherAddr  = netip.MustParseAddr("2001:db8:1::66")
	testServer = []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 9}
)

func testParams() Params {
	return Params{DUID: []byte{0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, IAID: testIAID}
}

// frame is a message from a server, of which every part can be changed.
type frame struct {
	kind           dhcpv6.MessageType
	client, server []byte
	iaid, t1, t2   uint32
	inIA           []opt // after the addresses
	addrs          []iaAddr
	more           []opt
}

type opt struct {
	code  uint16
	value []byte
}

func tlv(opts ...opt) []byte {
	var b []byte
	for _, o := range opts {
		b = binary.BigEndian.AppendUint16(b, o.code)
		b = binary.BigEndian.AppendUint16(b, uint16(len(o.value)))
		b = append(b, o.value...)
	}
	return b
}

func addrOption(a iaAddr, more ...opt) opt {
	b := a.AsSlice()
	b = binary.BigEndian.AppendUint32(b, a.preferred)
	b = binary.BigEndian.AppendUint32(b, a.valid)
	return opt{optIAAddr, append(b, tlv(more...)...)}
}

func statusOption(code uint16, text string) opt {
	return opt{optStatusCode, append(binary.BigEndian.AppendUint16(nil, code), text...)}
}

// honest is what an honest server answers.
func honest(kind dhcpv6.MessageType, change ...func(*frame)) *frame {
	f := &frame{
		kind: kind, client: testParams().DUID, server: testServer, iaid: testIAID, t1: 1800, t2: 2880,
		addrs: []iaAddr{{testAddr, 3600, 7200}},
	}
	for _, c := range change {
		c(f)
	}
	return f
}

func with(code uint16, value ...byte) func(*frame) {
	return func(f *frame) { f.more = append(f.more, opt{code, value}) }
}

func withStatus(code uint16) func(*frame) {
	return func(f *frame) { f.more, f.addrs = append(f.more, statusOption(code, "no\nway")), nil }
}

func withAddr(a ...iaAddr) func(*frame) { return func(f *frame) { f.addrs = a } }

func withServer(duid ...byte) func(*frame) { return func(f *frame) { f.server = duid } }

func (f *frame) bytes(xid dhcpv6.TransactionID) []byte {
	ia := binary.BigEndian.AppendUint32(nil, f.iaid)
	ia = binary.BigEndian.AppendUint32(ia, f.t1)
	ia = binary.BigEndian.AppendUint32(ia, f.t2)
	for _, a := range f.addrs {
		ia = append(ia, tlv(addrOption(a))...)
	}
	ia = append(ia, tlv(f.inIA...)...)
	b := append([]byte{byte(f.kind)}, xid[:]...)
	if f.client != nil {
		b = append(b, tlv(opt{optClientID, f.client})...)
	}
	if f.server != nil {
		b = append(b, tlv(opt{optServerID, f.server})...)
	}
	b = append(b, tlv(opt{optIANA, ia})...)
	return append(b, tlv(f.more...)...)
}

// script is a wire on which a hand-written server answers: replies to the n-th message
// that was sent. With nothing left to answer, time is over.
type script struct {
	t       testing.TB
	replies func(n int, sent *dhcpv6.Message) [][]byte
	sent    []*dhcpv6.Message
	queue   [][]byte
	end     context.CancelCauseFunc
	cause   error
	bad     int
}

func (s *script) ready(context.Context) error { return nil }
func (s *script) close()                      {}

func (s *script) send(message []byte) error {
	msg := &dhcpv6.Message{MessageType: dhcpv6.MessageType(message[0]), TransactionID: dhcpv6.TransactionID(message[1:4])}
	err := msg.Options.FromBytesWithParser(message[4:], func(code dhcpv6.OptionCode, data []byte) (dhcpv6.Option, error) {
		if code == optIANA {
			return dhcpv6.ParseOption(code, data)
		}
		return &dhcpv6.OptionGeneric{OptionCode: code, OptionData: data}, nil // the server's DUID is any
	})
	if err != nil {
		s.t.Fatalf("the client's own message is malformed: %v", err)
	}
	s.sent = append(s.sent, msg)
	s.queue = append(s.queue, s.replies(len(s.sent), msg)...)
	return nil
}

func (s *script) receive(context.Context, time.Time) ([]byte, netip.Addr, error) {
	if len(s.queue) == 0 {
		if len(s.sent) > 20 {
			s.end(s.cause)
		}
		return nil, netip.Addr{}, os.ErrDeadlineExceeded
	}
	next := s.queue[0]
	s.queue = s.queue[1:]
	return next, netip.MustParseAddr("fe80::9"), nil
}

// newScript is a client on a scripted wire, and the context that ends with its script.
func newScript(t testing.TB, replies func(n int, sent *dhcpv6.Message) [][]byte) (context.Context, *Client, *script) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	s := &script{t: t, replies: replies, end: cancel, cause: grant.ErrTimeout}
	return ctx, &Client{wire: s, config: Config{
		Name: "eth0", Params: testParams(), Log: slog.New(slog.DiscardHandler), BadFrame: func() { s.bad++ },
	}}, s
}

// answering answers every message alike, but for what a message is answered with.
func answering(change ...func(*frame)) func(int, *dhcpv6.Message) [][]byte {
	return func(_ int, sent *dhcpv6.Message) [][]byte { return [][]byte{answer(sent, change...)} }
}

func answer(sent *dhcpv6.Message, change ...func(*frame)) []byte {
	kind := dhcpv6.MessageTypeReply
	if sent.MessageType == dhcpv6.MessageTypeSolicit {
		kind = dhcpv6.MessageTypeAdvertise
	}
	return honest(kind, change...).bytes(sent.TransactionID)
}

func kinds(sent []*dhcpv6.Message) string {
	var s string
	for _, m := range sent {
		s += m.MessageType.String() + " "
	}
	return s
}
