package dhcp6

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

func held() grant.Grant {
	return grant.Grant{Server: netip.MustParseAddr("fe80::9"), ServerID: testServer, Address: netip.PrefixFrom(testAddr, 128)}
}

type prolongation func(*Client, context.Context, grant.Grant) (grant.Grant, error)

func prolongWith(t *testing.T, fn prolongation, replies func(n int, sent *dhcpv6.Message) [][]byte) (grant.Grant, *script, error) {
	t.Helper()
	ctx, c, s := newScript(t, replies)
	g, err := fn(c, ctx, held())
	return g, s, err
}

var second = []byte{0xff, 0, 2}

func TestHostileRepliesDoNotStopAProlongation(t *testing.T) {
	for name, fn := range map[string]prolongation{"Renew": (*Client).Renew, "Rebind": (*Client).Rebind} {
		g, s, err := prolongWith(t, fn, func(_ int, sent *dhcpv6.Message) [][]byte {
			return append(hostileFrames(sent), answer(sent))
		})
		if err != nil || g.Address.Addr() != testAddr || g.Lifetime != 2*time.Hour || len(s.sent) != 1 || s.bad == 0 {
			t.Errorf("%s: %+v, %v, %d bad frames", name, g, err, s.bad)
		}
	}
}

func TestAnotherServerMayTakeOver(t *testing.T) {
	replies := answering(withServer(second...))
	if _, _, err := prolongWith(t, (*Client).Renew, replies); !errors.Is(err, grant.ErrNoAck) {
		t.Errorf("RENEW is for one server: %v", err)
	}
	for name, fn := range map[string]prolongation{"Rebind": (*Client).Rebind, "Confirm": (*Client).Confirm} {
		if g, _, err := prolongWith(t, fn, replies); err != nil || !bytes.Equal(g.ServerID, second) {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	refusals := map[string]func(*frame){
		"lifetimes of 0":             withAddr(iaAddr{testAddr, 0, 0}),
		"NotOnLink":                  withStatus(4),
		"another address instead":    withAddr(iaAddr{otherAddr, 60, 60}, iaAddr{testAddr, 0, 0}),
		"NotOnLink of the IA_NA":     func(f *frame) { f.addrs, f.inIA = nil, []opt{statusOption(4, "")} },
		"lifetimes of 0 and NoAddrs": func(f *frame) { f.addrs, f.more = []iaAddr{{testAddr, 0, 0}}, []opt{statusOption(2, "")} },
	}
	for name, change := range refusals {
		for kind, fn := range map[string]prolongation{"Renew": (*Client).Renew, "Rebind": (*Client).Rebind} {
			if g, s, err := prolongWith(t, fn, answering(change)); !errors.Is(err, grant.ErrNak) || len(s.sent) != 1 {
				t.Errorf("%s, %s: %+v, %v after %s", kind, name, g, err, kinds(s.sent))
			}
		}
		// One server's refusal does not outweigh another's grant that comes a moment later.
		g, _, err := prolongWith(t, (*Client).Rebind, func(_ int, sent *dhcpv6.Message) [][]byte {
			return [][]byte{answer(sent, change), answer(sent, withServer(second...))}
		})
		if err != nil || !bytes.Equal(g.ServerID, second) {
			t.Errorf("%s, then a grant: %+v, %v", name, g, err)
		}
	}
	if _, _, err := prolongWith(t, (*Client).Renew, answering(withStatus(2))); !errors.Is(err, grant.ErrNak) {
		t.Errorf("Renew, NoAddrsAvail: %v", err)
	}
	if _, s, err := prolongWith(t, (*Client).Rebind, answering(withStatus(2))); !errors.Is(err, grant.ErrNoAck) || s.bad != 0 {
		t.Errorf("Rebind, NoAddrsAvail of a bystander: %v", err)
	}
	if _, _, err := prolongWith(t, (*Client).Renew, answering(withAddr(iaAddr{otherAddr, 60, 60}))); !errors.Is(err, grant.ErrNoAck) {
		t.Errorf("a reply about another address: %v", err)
	}
	if _, _, err := prolongWith(t, (*Client).Renew, answering(withStatus(1))); !errors.Is(err, grant.ErrNoAck) {
		t.Errorf("a failure that may pass: %v", err)
	}
}

func TestServerThatForgotIsAskedAgain(t *testing.T) {
	noBinding := func(f *frame) { f.addrs, f.inIA = nil, []opt{statusOption(3, "gone")} }
	forgetful := func(then ...func(*frame)) func(int, *dhcpv6.Message) [][]byte {
		return func(n int, sent *dhcpv6.Message) [][]byte {
			if n == 1 {
				return [][]byte{answer(sent, noBinding)}
			}
			return [][]byte{answer(sent, then...)}
		}
	}
	for name, fn := range map[string]prolongation{"RENEW": (*Client).Renew, "REBIND": (*Client).Rebind} {
		g, s, err := prolongWith(t, fn, forgetful())
		if err != nil || g.Address.Addr() != testAddr || kinds(s.sent) != name+" REQUEST " {
			t.Errorf("%s: %+v, %v after %s", name, g, err, kinds(s.sent))
		}
		_, s, err = prolongWith(t, fn, forgetful(withAddr(iaAddr{otherAddr, 60, 60})))
		if !errors.Is(err, grant.ErrNak) || kinds(s.sent) != name+" REQUEST RELEASE " {
			t.Errorf("%s, another address: %v after %s", name, err, kinds(s.sent))
		}
		if _, _, err = prolongWith(t, fn, forgetful(withStatus(2))); !errors.Is(err, grant.ErrNak) {
			t.Errorf("%s, no address: %v", name, err)
		}
	}
}

func TestGoodbyes(t *testing.T) {
	for name, fn := range map[string]func(*Client, context.Context, grant.Grant) error{
		"RELEASE": (*Client).Release, "DECLINE": (*Client).Decline,
	} {
		for status, replies := range map[string]func(int, *dhcpv6.Message) [][]byte{
			"Success":   answering(func(f *frame) { f.more, f.addrs = []opt{statusOption(0, "")}, nil }),
			"NoBinding": answering(withStatus(3)),
		} {
			ctx, c, s := newScript(t, replies)
			if err := fn(c, ctx, held()); err != nil || kinds(s.sent) != name+" " {
				t.Errorf("%s, %s: %v after %s", name, status, err, kinds(s.sent))
			}
		}
		ctx, c, s := newScript(t, answering(withServer(second...)))
		if err := fn(c, ctx, held()); err != nil || len(s.sent) != maxGoodbyes {
			t.Errorf("%s, not confirmed: %v after %s", name, err, kinds(s.sent))
		}
		if err := fn(c, ctx, grant.Grant{Address: held().Address}); err == nil {
			t.Errorf("%s: sent to no server", name)
		}
	}
}

func TestParamsThatWouldBreakAnExchange(t *testing.T) {
	for name, change := range map[string]func(*Params){
		"no DUID":      func(p *Params) { p.DUID = nil },
		"long DUID":    func(p *Params) { p.DUID = make([]byte, maxDUID+1) },
		"client id":    func(p *Params) { p.Options = []grant.Option{{Code: optClientID}} },
		"ORO":          func(p *Params) { p.Options = []grant.Option{{Code: optORO}} },
		"IA_PD":        func(p *Params) { p.Options = []grant.Option{{Code: 25}} },
		"hostile name": func(p *Params) { p.FQDN = "a\nb" },
	} {
		p := testParams()
		change(&p)
		if p.validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p := testParams()
	if err := p.validate(); err != nil {
		t.Error(err)
	}
}
