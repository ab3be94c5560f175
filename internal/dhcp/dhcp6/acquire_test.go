package dhcp6

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

func acquire(t *testing.T, wish grant.Wish, replies func(n int, sent *dhcpv6.Message) [][]byte) (grant.Grant, *script, error) {
	t.Helper()
	ctx, c, s := newScript(t, replies)
	g, err := c.Acquire(ctx, wish)
	return g, s, err
}

// hostileFrames are of the right transaction and must all be ignored.
func hostileFrames(sent *dhcpv6.Message) [][]byte {
	good := answer(sent)
	overlong := slices.Clone(good)
	overlong[4+3] = 255 // the first option's length
	var frames [][]byte
	for _, n := range []int{0, 1, 3, 4, 5, 7, 8, len(good) / 2, len(good) - 1} {
		frames = append(frames, good[:n])
	}
	header := good[:4]
	frames = append(frames, overlong,
		slices.Concat(header, bytes.Repeat([]byte{0xff}, 1496)), slices.Concat(header, make([]byte, 1496)),
		slices.Concat(header, bytes.Repeat([]byte{0, optIANA, 0, 12}, 374)),
		answer(sent, func(f *frame) { f.client = []byte{0, 4, 9, 9} }),
		answer(sent, func(f *frame) { f.server = nil }),
		answer(sent, func(f *frame) { f.iaid = 7 }),
		answer(sent, func(f *frame) { f.t1 = f.t2 + 1 }),
		answer(sent, withAddr()),
		answer(sent, withAddr(iaAddr{otherAddr, 0, 0})),
		honest(dhcpv6.MessageTypeSolicit, withAddr(iaAddr{otherAddr, 60, 60})).bytes(sent.TransactionID), // a client's message as a reply
		honest(dhcpv6.MessageTypeReconfigure, withAddr(iaAddr{otherAddr, 60, 60})).bytes(sent.TransactionID),
		answer(sent, withAddr(iaAddr{otherAddr, 60, 60}))[:4],
	)
	// Other transactions' replies are none of the client's business.
	xid := sent.TransactionID
	xid[0]++
	frames = append(frames, honest(dhcpv6.MessageTypeReply, withAddr(iaAddr{otherAddr, 60, 60})).bytes(xid))
	if sent.MessageType == dhcpv6.MessageTypeSolicit {
		// A grant without Rapid Commit.
		return append(frames, honest(dhcpv6.MessageTypeReply, withAddr(iaAddr{otherAddr, 60, 60})).bytes(sent.TransactionID))
	}
	return append(frames,
		honest(dhcpv6.MessageTypeAdvertise, withAddr(iaAddr{otherAddr, 60, 60})).bytes(sent.TransactionID),
		answer(sent, withServer(0, 4, 6, 6, 6), withAddr(iaAddr{otherAddr, 60, 60})), // another server
		answer(sent, withServer(0, 4, 6, 6, 6), withStatus(2)),
	)
}

func TestHostileRepliesDoNotStopAnExchange(t *testing.T) {
	g, s, err := acquire(t, grant.Wish{}, func(_ int, sent *dhcpv6.Message) [][]byte {
		return append(hostileFrames(sent), answer(sent))
	})
	if err != nil || g.Address.Addr() != testAddr || g.Server.String() != "fe80::9" || !bytes.Equal(g.ServerID, testServer) {
		t.Errorf("%+v, %v", g, err)
	}
	if len(s.sent) != 2 || s.bad == 0 {
		t.Errorf("%d messages sent, %d bad frames counted", len(s.sent), s.bad)
	}
}

func TestMessagesSayWhoAsksAndForWhat(t *testing.T) {
	ctx, c, s := newScript(t, answering())
	c.config.Requested = []uint16{optSNTP, optDNS, 21}
	c.config.Options = []grant.Option{{Code: 65001, Value: []byte("mine")}}
	c.config.FQDN = "web.lan"
	g, err := c.Acquire(ctx, grant.Wish{Address: testAddr})
	if err == nil {
		_, err = c.Renew(ctx, g)
	}
	if err == nil {
		_, err = c.Rebind(ctx, g)
	}
	if err == nil {
		err = errors.Join(c.Decline(ctx, g), c.Release(ctx, g))
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := kinds(s.sent); got != "SOLICIT REQUEST RENEW REBIND DECLINE RELEASE " {
		t.Fatal(got)
	}
	for _, m := range s.sent {
		kind := m.MessageType
		value := func(code dhcpv6.OptionCode) []byte {
			if o := m.GetOneOption(code); o != nil {
				return o.ToBytes()
			}
			return nil
		}
		ia := m.Options.OneIANA()
		if !bytes.Equal(value(optClientID), testParams().DUID) || binary.BigEndian.Uint32(ia.IaId[:]) != testIAID ||
			!ia.Options.OneAddress().IPv6Addr.Equal(testAddr.AsSlice()) || string(value(65001)) != "mine" || len(value(optElapsedTime)) != 2 {
			t.Errorf("%s", m)
		}
		toAll := kind == dhcpv6.MessageTypeSolicit || kind == dhcpv6.MessageTypeRebind
		if got := value(optServerID); toAll != (got == nil) || !toAll && !bytes.Equal(got, testServer) {
			t.Errorf("%s: server %x", kind, got)
		}
		goodbye := kind == dhcpv6.MessageTypeRelease || kind == dhcpv6.MessageTypeDecline
		oro, fqdn := value(optORO), value(optFQDN)
		if goodbye != (oro == nil) || !goodbye && !bytes.Equal(oro, []byte{0, 23, 0, 24, 0, 56, 0, 31, 0, 21}) {
			t.Errorf("%s: asks for %v", kind, oro)
		}
		if goodbye != (fqdn == nil) || !goodbye && string(fqdn) != "\x01\x03web\x03lan\x00" {
			t.Errorf("%s: name %q", kind, fqdn)
		}
		if _, ok := value(optRapidCommit), m.GetOneOption(optRapidCommit) != nil; ok != (kind == dhcpv6.MessageTypeSolicit) {
			t.Errorf("%s: Rapid Commit: %t", kind, ok)
		}
	}
	if got := string(fqdnOption("web")); got != "\x01\x03web" {
		t.Errorf("a partial name is %q", got)
	}
}

func TestRetransmissionIsTheSameTransaction(t *testing.T) {
	_, s, err := acquire(t, grant.Wish{}, func(n int, sent *dhcpv6.Message) [][]byte {
		if n < 4 {
			return nil
		}
		return [][]byte{answer(sent)}
	})
	if err != nil || len(s.sent) != 5 || s.sent[0].TransactionID != s.sent[3].TransactionID {
		t.Errorf("%v after %s", err, kinds(s.sent))
	}
	if s.sent[4].TransactionID == s.sent[0].TransactionID {
		t.Error("REQUEST has the SOLICIT's transaction")
	}
}

func TestBestAdvertise(t *testing.T) {
	low, high := []byte{0xff, 0, 1}, []byte{0xff, 0, 2}
	from := func(duid []byte, preference byte, a iaAddr) []func(*frame) {
		return []func(*frame){withServer(duid...), with(optPreference, preference), withAddr(a)}
	}
	ask, other := iaAddr{testAddr, 60, 60}, iaAddr{otherAddr, 60, 60}
	for name, tt := range map[string]struct {
		wish   grant.Wish
		offers [][]func(*frame)
		want   []byte
	}{
		"by preference":              {grant.Wish{}, [][]func(*frame){from(low, 1, ask), from(high, 2, ask), from(low, 0, ask)}, high},
		"the first of equals":        {grant.Wish{}, [][]func(*frame){from(low, 1, ask), from(high, 1, ask)}, low},
		"255 ends the search":        {grant.Wish{}, [][]func(*frame){from(low, 255, ask), nil}, low},
		"the wish before preference": {grant.Wish{Address: testAddr}, [][]func(*frame){from(high, 254, other), from(low, 0, ask)}, low},
		"the wish even before 255":   {grant.Wish{Address: testAddr}, [][]func(*frame){from(high, 255, other), from(low, 0, ask)}, low},
	} {
		g, s, err := acquire(t, tt.wish, func(_ int, sent *dhcpv6.Message) [][]byte {
			if sent.MessageType == dhcpv6.MessageTypeRequest {
				return [][]byte{answer(sent, withServer(sent.GetOneOption(optServerID).ToBytes()...))}
			}
			var frames [][]byte
			for _, o := range tt.offers {
				frames = append(frames, answer(sent, o...))
			}
			return frames
		})
		if err != nil || !bytes.Equal(g.ServerID, tt.want) || len(s.sent) != 2 {
			t.Errorf("%s: server %x, %v, %s", name, g.ServerID, err, kinds(s.sent))
		}
	}
}

func TestRapidCommit(t *testing.T) {
	rapid := func(_ int, sent *dhcpv6.Message) [][]byte {
		return [][]byte{answer(sent), honest(dhcpv6.MessageTypeReply, with(optRapidCommit), withAddr(iaAddr{otherAddr, 60, 60})).bytes(sent.TransactionID)}
	}
	g, s, err := acquire(t, grant.Wish{Address: testAddr}, rapid)
	if err != nil || g.Address.Addr() != otherAddr || len(s.sent) != 1 {
		t.Errorf("%+v, %v after %s", g, err, kinds(s.sent))
	}
	_, s, err = acquire(t, grant.Wish{Address: testAddr, Strict: true}, func(n int, sent *dhcpv6.Message) [][]byte {
		if sent.MessageType == dhcpv6.MessageTypeSolicit {
			return rapid(n, sent)
		}
		return [][]byte{answer(sent)}
	})
	if err != nil || len(s.sent) != 2 || s.sent[0].GetOneOption(optRapidCommit) != nil {
		t.Errorf("a strict wish: %v after %s", err, kinds(s.sent))
	}
}

func TestStrictWish(t *testing.T) {
	wish := grant.Wish{Address: otherAddr, Strict: true}
	_, s, err := acquire(t, wish, answering())
	if !errors.Is(err, grant.ErrOther) || len(s.sent) != 1 {
		t.Errorf("another address is offered: %v after %s", err, kinds(s.sent))
	}
	_, s, err = acquire(t, wish, func(n int, sent *dhcpv6.Message) [][]byte {
		if n == 1 {
			return [][]byte{answer(sent, withAddr(iaAddr{otherAddr, 60, 60}))}
		}
		return [][]byte{answer(sent)}
	})
	if !errors.Is(err, grant.ErrOther) || kinds(s.sent) != "SOLICIT REQUEST RELEASE " {
		t.Fatalf("another address is granted: %v after %s", err, kinds(s.sent))
	}
	if got := s.sent[2].Options.OneIANA().Options.OneAddress().IPv6Addr; !got.Equal(testAddr.AsSlice()) {
		t.Errorf("%s was given back", got)
	}
	_, s, err = acquire(t, grant.Wish{Address: otherAddr}, answering())
	if err != nil || len(s.sent) != 2 {
		t.Errorf("a wish that is not strict: %v", err)
	}
}

func TestServersThatRefuse(t *testing.T) {
	for _, code := range []uint16{1, 2, 3, 4} { // UnspecFail, NoAddrsAvail, NoBinding, NotOnLink
		_, s, err := acquire(t, grant.Wish{}, func(_ int, sent *dhcpv6.Message) [][]byte {
			if sent.MessageType == dhcpv6.MessageTypeRequest {
				return [][]byte{answer(sent, withStatus(code))}
			}
			return [][]byte{answer(sent)}
		})
		if !errors.Is(err, grant.ErrNak) || strings.ContainsRune(err.Error(), '\n') || len(s.sent) != 2*(1+maxRefusals) {
			t.Errorf("status %d: %v after %s", code, err, kinds(s.sent))
		}
	}
	g, _, err := acquire(t, grant.Wish{}, func(_ int, sent *dhcpv6.Message) [][]byte {
		if sent.MessageType == dhcpv6.MessageTypeSolicit {
			return [][]byte{answer(sent, with(optPreference, 255)), answer(sent, withServer(second...))}
		}
		if server := sent.GetOneOption(optServerID).ToBytes(); bytes.Equal(server, second) {
			return [][]byte{answer(sent, withServer(second...))}
		}
		return [][]byte{answer(sent, withAddr(iaAddr{testAddr, 0, 0}))}
	})
	if err != nil || !bytes.Equal(g.ServerID, second) {
		t.Errorf("the other server was not asked: %+v, %v", g, err)
	}
}

func TestErrorsSayHowFarItCame(t *testing.T) {
	_, s, err := acquire(t, grant.Wish{}, func(int, *dhcpv6.Message) [][]byte { return nil })
	if !errors.Is(err, grant.ErrNoOffer) || len(s.sent) < 2 {
		t.Errorf("no server: %v after %s", err, kinds(s.sent))
	}
	_, s, err = acquire(t, grant.Wish{}, answering(withStatus(2)))
	if !errors.Is(err, grant.ErrNoOffer) || !strings.Contains(err.Error(), `server fe80::9 says NoAddrsAvail, "noway"`) || s.bad != 0 {
		t.Errorf("no address: %v, %d bad frames", err, s.bad)
	}
	_, _, err = acquire(t, grant.Wish{}, func(_ int, sent *dhcpv6.Message) [][]byte {
		if sent.MessageType == dhcpv6.MessageTypeSolicit {
			return [][]byte{answer(sent)}
		}
		return [][]byte{answer(sent, func(f *frame) { f.t1 = f.t2 + 1 })}
	})
	if !errors.Is(err, grant.ErrNoAck) || !strings.Contains(err.Error(), "unusable replies") {
		t.Errorf("no usable REPLY: %v", err)
	}
	_, c, s := newScript(t, nil)
	if _, err := c.Acquire(context.Background(), grant.Wish{Address: netip.MustParseAddr("192.0.2.1")}); !errors.Is(err, grant.ErrOther) || len(s.sent) > 0 {
		t.Errorf("an IPv4 address: %v", err)
	}
}

// A user who hangs up between REQUEST and REPLY leaves no address at the server.
func TestAbandonedAcquisition(t *testing.T) {
	cause := errors.New("the user hung up")
	var end context.CancelCauseFunc
	ctx, c, s := newScript(t, func(_ int, sent *dhcpv6.Message) [][]byte {
		if sent.MessageType == dhcpv6.MessageTypeRequest {
			end(cause)
		}
		return [][]byte{answer(sent)}
	})
	end = s.end
	if _, err := c.Acquire(ctx, grant.Wish{}); !errors.Is(err, cause) || kinds(s.sent) != "SOLICIT REQUEST RELEASE " {
		t.Errorf("%v after %s", err, kinds(s.sent))
	}
	if _, err := c.Acquire(ctx, grant.Wish{}); !errors.Is(err, cause) || len(s.sent) != 3 {
		t.Errorf("%v after %s", err, kinds(s.sent))
	}
}
