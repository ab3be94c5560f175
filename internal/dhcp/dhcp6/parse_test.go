package dhcp6

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// granted is what a REPLY grants.
func granted(change ...func(*frame)) (grant.Grant, error) {
	p := testParams()
	r, err := parseReply(honest(dhcpv6.MessageTypeReply, change...).bytes(dhcpv6.TransactionID{}), &p)
	if err != nil {
		return grant.Grant{}, err
	}
	return r.grant(netip.Addr{})
}

func TestUnusableRepliesAreRefused(t *testing.T) {
	for name, change := range map[string]func(*frame){
		"unspecified":                          withAddr(iaAddr{netip.IPv6Unspecified(), 60, 60}),
		"loopback":                             withAddr(iaAddr{netip.IPv6Loopback(), 60, 60}),
		"link-local":                           withAddr(iaAddr{netip.MustParseAddr("fe80::1"), 60, 60}),
		"multicast":                            withAddr(iaAddr{netip.MustParseAddr("ff02::1"), 60, 60}),
		"v4-mapped":                            withAddr(iaAddr{netip.MustParseAddr("::ffff:192.0.2.1"), 60, 60}),
		"v4-compatible":                        withAddr(iaAddr{netip.MustParseAddr("::192.0.2.1"), 60, 60}),
		"NAT64":                                withAddr(iaAddr{netip.MustParseAddr("64:ff9b::1"), 60, 60}),
		"preferred longer than":                withAddr(iaAddr{testAddr, 61, 60}),
		"valid for no time":                    withAddr(iaAddr{testAddr, 0, 0}),
		"no address":                           withAddr(),
		"no client":                            func(f *frame) { f.client = nil },
		"another client":                       func(f *frame) { f.client = []byte{0, 4, 9} },
		"two clients":                          with(optClientID, testParams().DUID...),
		"no server":                            func(f *frame) { f.server = nil },
		"empty server":                         withServer(),
		"two servers":                          with(optServerID, 0, 4, 9),
		"long server":                          withServer(make([]byte, maxDUID+1)...),
		"another IAID":                         func(f *frame) { f.iaid++ },
		"T1 after T2":                          func(f *frame) { f.t1 = f.t2 + 1 },
		"status of the message":                withStatus(2),
		"status of the message and an address": func(f *frame) { f.more = []opt{statusOption(1, "")} },
		"status of the IA":                     func(f *frame) { f.inIA = []opt{statusOption(4, "")} },
		"status of the address": func(f *frame) {
			f.addrs, f.inIA = nil, []opt{addrOption(iaAddr{testAddr, 60, 60}, statusOption(4, ""))}
		},
		"address cut off": func(f *frame) {
			f.addrs, f.inIA = nil, []opt{{optIAAddr, testAddr.AsSlice()}}
		},
		"options of the address cut off": func(f *frame) {
			o := addrOption(iaAddr{testAddr, 60, 60})
			o.value = append(o.value, 0, 13, 0, 9, 0)
			f.addrs, f.inIA = nil, []opt{o}
		},
		"a client's message": func(f *frame) { f.kind = dhcpv6.MessageTypeRequest },
		"a relay's message":  func(f *frame) { f.kind = dhcpv6.MessageTypeRelayReply },
	} {
		if g, err := granted(change); err == nil {
			t.Errorf("%s: accepted as %+v", name, g)
		}
	}
}

func TestUsableRepliesAreAccepted(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*frame)
		want   string
	}{
		"global":                 {func(*frame) {}, "2001:db8:1::10/128"},
		"unique local":           {withAddr(iaAddr{netip.MustParseAddr("fd00::7"), 60, 60}), "fd00::7/128"},
		"status Success":         {func(f *frame) { f.more = []opt{statusOption(0, "fine")} }, "2001:db8:1::10/128"},
		"empty status":           {with(optStatusCode), "2001:db8:1::10/128"},
		"after an ended address": {withAddr(iaAddr{otherAddr, 0, 0}, iaAddr{testAddr, 60, 60}), "2001:db8:1::10/128"},
		"after a useless address": {
			withAddr(iaAddr{netip.IPv6Loopback(), 60, 60}, iaAddr{testAddr, 60, 60}), "2001:db8:1::10/128",
		},
		"an option that the library cannot decode": {with(97, 1, 2, 3), "2001:db8:1::10/128"},
		"longest server": {withServer(make([]byte, maxDUID)...), "2001:db8:1::10/128"},
	} {
		if g, err := granted(tt.change); err != nil || g.Address.String() != tt.want {
			t.Errorf("%s: %s, %v", name, g.Address, err)
		}
	}
}

func TestReplyIsCopiedFromTheFrame(t *testing.T) {
	p := testParams()
	b := honest(dhcpv6.MessageTypeReply, with(optDNS, testAddr.AsSlice()...), with(optSearch, []byte("\x03lan\x00")...)).bytes(dhcpv6.TransactionID{})
	r, err := parseReply(b, &p)
	if err != nil {
		t.Fatal(err)
	}
	clear(b) // as the next frame would overwrite it
	g, err := r.grant(netip.Addr{})
	if err != nil || !bytes.Equal(g.ServerID, testServer) || g.DNS[0] != testAddr || g.Search[0] != "lan" {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestTimes(t *testing.T) {
	const inf = infinity
	for _, tt := range []struct {
		name                       string
		t1, t2, preferred, valid   uint32
		wantT1, wantT2, wantP, end time.Duration
	}{
		{"as sent", 60, 90, 100, 200, 60, 90, 100, 200},
		{"left to the client", 0, 0, 100, 200, 50, 80, 100, 200},
		{"T1 left to the client", 0, 20, 100, 200, 20, 20, 100, 200},
		{"T2 left to the client", 60, 0, 100, 200, 60, 80, 100, 200},
		{"T1 after the client's T2", 90, 0, 100, 200, 90, 90, 100, 200},
		{"T1 and T2 after the end", 300, 400, 100, 200, 50, 80, 100, 200},
		{"T2 after the end", 60, 400, 100, 200, 60, 80, 100, 200},
		{"T1 and T2 infinite", inf, inf, 100, 200, 50, 80, 100, 200},
		{"deprecated", 0, 0, 0, 200, 100, 160, 0, 200},
		{"valid without end", 60, 90, 100, inf, 0, 0, 0, 0},
		{"all without end", inf, inf, inf, inf, 0, 0, 0, 0},
		{"longest", 0, 0, inf - 1, inf - 1, 2147483647, 3435973835, inf - 1, inf - 1},
	} {
		g, err := granted(func(f *frame) {
			f.t1, f.t2, f.addrs = tt.t1, tt.t2, []iaAddr{{testAddr, tt.preferred, tt.valid}}
		})
		round := func(d time.Duration) time.Duration { return d / time.Second }
		if err != nil || round(g.T1) != tt.wantT1 || round(g.T2) != tt.wantT2 || round(g.Preferred) != tt.wantP || round(g.Lifetime) != tt.end {
			t.Errorf("%s: T1 %s, T2 %s, preferred %s, lifetime %s, %v", tt.name, g.T1, g.T2, g.Preferred, g.Lifetime, err)
		}
		if g.Infinite() != (tt.valid == inf) {
			t.Errorf("%s: infinite: %t", tt.name, g.Infinite())
		}
	}
}

func TestNamesCannotWriteIntoResolvConf(t *testing.T) {
	for _, hostile := range []string{"a\nnameserver ::9", "a b", "a;b", "a\x00b", "-a", strings.Repeat("a", 64), "ä.test", "#x"} {
		var search []byte
		for label := range strings.SplitSeq(hostile, ".") {
			search = append(append(search, byte(len(label))), label...)
		}
		if g, err := granted(with(optSearch, append(search, 0)...)); err != nil || len(g.Search) != 0 {
			t.Errorf("%q: search %q, %v", hostile, g.Search, err)
		}
	}
}

func TestSearchList(t *testing.T) {
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)
	for name, tt := range map[string]struct {
		in   string
		want []string
	}{
		"two names":       {"\x03eng\x05apple\x03com\x00\x03lan\x00", []string{"eng.apple.com", "lan"}},
		"compressed":      {"\x03lan\x00\x01a\xc0\x00", []string{"lan"}},
		"label cut off":   {"\x01a\x00\x09b", []string{"a"}},
		"no end":          {"\x01a", nil},
		"root":            {"\x00\x01a\x00", []string{"a"}},
		"dot in a label":  {"\x03a.b\x00", nil},
		"longest name":    {long + "\x3d" + strings.Repeat("a", 61) + "\x00", []string{strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61)}},
		"too long a name": {long + "\x3e" + strings.Repeat("a", 62) + "\x00", nil},
	} {
		if got := parseSearch([]byte(tt.in)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestNTP(t *testing.T) {
	unicast := opt{1, testAddr.AsSlice()}
	for name, tt := range map[string]struct {
		change []func(*frame)
		want   []netip.Addr
	}{
		"unicast": {[]func(*frame){with(optNTP, tlv(opt{3, []byte("\x03ntp\x00")}, opt{2, netip.MustParseAddr("ff02::101").AsSlice()}, unicast)...)}, []netip.Addr{testAddr}},
		"SNTP":    {[]func(*frame){with(optSNTP, otherAddr.AsSlice()...)}, []netip.Addr{otherAddr}},
		"both":    {[]func(*frame){with(optSNTP, otherAddr.AsSlice()...), with(optNTP, tlv(unicast)...)}, []netip.Addr{testAddr}},
		"cut off": {[]func(*frame){with(optNTP, tlv(unicast)[:19]...)}, nil},
	} {
		if g, err := granted(tt.change...); err != nil || !slices.Equal(g.NTP, tt.want) {
			t.Errorf("%s: %v, %v", name, g.NTP, err)
		}
	}
}

func TestListsAreCut(t *testing.T) {
	many := slices.Repeat(testAddr.AsSlice(), 40)
	g, err := granted(with(optDNS, many...), with(optSNTP, many...), with(optSearch, bytes.Repeat([]byte("\x01a\x00"), 100)...))
	if err != nil || len(g.DNS) != maxAddrs || len(g.NTP) != maxAddrs || len(g.Search) != maxSearch {
		t.Errorf("%d DNS servers, %d NTP servers, %d domains, %v", len(g.DNS), len(g.NTP), len(g.Search), err)
	}
	g, err = granted(with(optNTP, tlv(slices.Repeat([]opt{{1, testAddr.AsSlice()}}, 40)...)...))
	if err != nil || len(g.NTP) != maxAddrs {
		t.Errorf("%d NTP servers, %v", len(g.NTP), err)
	}
	g, err = granted(with(optDNS, netip.MustParseAddr("fe80::1").AsSlice()...))
	if err != nil || len(g.DNS) != 0 {
		t.Errorf("a link-local DNS server: %v, %v", g.DNS, err)
	}
}
