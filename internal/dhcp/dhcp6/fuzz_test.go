package dhcp6

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// FuzzReply is any frame to the parser: whatever it grants must be safe to apply.
func FuzzReply(f *testing.F) {
	sent := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}
	f.Add(answer(sent))
	for _, b := range hostileFrames(sent) {
		f.Add(b)
	}
	addr := testAddr.AsSlice()
	f.Add(answer(sent, with(optDNS, addr...), with(optSearch, []byte("\x03lan\x00\xc0\x00")...), with(optSNTP, addr...),
		with(optNTP, tlv(opt{1, addr}, opt{3, []byte("\x03ntp\x00")})...), with(optPreference, 255), with(optRapidCommit)))
	f.Add(answer(sent, withStatus(3)))
	f.Add(answer(sent, withAddr(iaAddr{testAddr, infinity, infinity}, iaAddr{otherAddr, 0, 0})))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := testParams()
		r, err := parseReply(slices.Clone(b), &p)
		if err != nil {
			return
		}
		_ = r.refusal().Error()
		g, err := r.grant(testAddr)
		if err == nil {
			checkSafe(t, &g)
		}
	})
}

// FuzzExchange is any answer, as two frames of the right transaction, to each message.
func FuzzExchange(f *testing.F) {
	solicit := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}
	request := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeRequest}
	f.Add(answer(solicit), answer(request))
	f.Add(answer(solicit, with(optPreference, 255)), answer(request, withStatus(3)))
	f.Add(answer(solicit), answer(request, withAddr(iaAddr{otherAddr, 60, 60}, iaAddr{testAddr, 0, 0})))
	f.Add([]byte{}, answer(request, with(optRapidCommit)))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		replies := func(_ int, sent *dhcpv6.Message) [][]byte {
			var frames [][]byte
			for _, b := range [][]byte{first, second} {
				b = slices.Clone(b)
				if len(b) >= 4 {
					copy(b[1:], sent.TransactionID[:])
				}
				frames = append(frames, b)
			}
			return frames
		}
		ctx, c, _ := newScript(t, replies)
		for _, strict := range []bool{false, true} {
			if g, err := c.Acquire(ctx, grant.Wish{Address: testAddr, Strict: strict}); err == nil {
				checkSafe(t, &g)
			}
		}
		for _, fn := range []prolongation{(*Client).Renew, (*Client).Rebind} {
			ctx, c, _ := newScript(t, replies)
			if g, err := fn(c, ctx, held()); err == nil {
				checkSafe(t, &g)
				if g.Address != held().Address {
					t.Errorf("%s was prolonged to %s", held().Address, g.Address)
				}
			}
		}
		ctx, c, _ = newScript(t, replies)
		if err := c.Release(ctx, held()); err != nil {
			t.Error(err)
		}
	})
}

// checkSafe asserts what the package promises of every grant.
func checkSafe(t *testing.T, g *grant.Grant) {
	t.Helper()
	a := g.Address.Addr()
	if g.Address.Bits() != 128 || !a.Is6() || a.Is4In6() || !a.IsGlobalUnicast() || a.IsLoopback() {
		t.Errorf("address %s", g.Address)
	}
	if g.T1 > g.T2 || g.T2 > g.Lifetime || g.T1 < 0 || g.Preferred > g.Lifetime || g.Infinite() && g.Preferred != 0 {
		t.Errorf("T1 %s, T2 %s, preferred %s, lifetime %s", g.T1, g.T2, g.Preferred, g.Lifetime)
	}
	if !g.Infinite() && g.T1 == 0 {
		t.Error("a grant is to be renewed at once")
	}
	if len(g.ServerID) < minDUID || len(g.ServerID) > maxDUID {
		t.Errorf("a server's DUID of %d bytes", len(g.ServerID))
	}
	if len(g.DNS) > maxAddrs || len(g.NTP) > maxAddrs || len(g.Search) > maxSearch {
		t.Errorf("%d DNS servers, %d NTP servers, %d domains", len(g.DNS), len(g.NTP), len(g.Search))
	}
	for _, addr := range slices.Concat(g.DNS, g.NTP) {
		if addr == (netip.Addr{}) || !usable(addr) {
			t.Errorf("server %s", addr)
		}
	}
	for _, name := range g.Search {
		if !grant.ValidDomain(name) {
			t.Errorf("domain %q", name)
		}
	}
}
