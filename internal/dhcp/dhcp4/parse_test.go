package dhcp4

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

func anything(uint8) bool { return true }

// reply is a valid reply to a client, changed by edit.
func reply(t testing.TB, kind dhcpv4.MessageType, edit func(*dhcpv4.DHCPv4)) *dhcpv4.DHCPv4 {
	t.Helper()
	msg, err := dhcpv4.New(dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 1}))
	if err != nil {
		t.Fatal(err)
	}
	msg.OpCode = dhcpv4.OpcodeBootReply
	msg.YourIPAddr = net.IPv4(192, 0, 2, 10).To4()
	setOption(msg, OptServerID, []byte{192, 0, 2, 1})
	setOption(msg, OptSubnetMask, []byte{255, 255, 255, 0})
	setOption(msg, OptLeaseTime, []byte{0, 0, 14, 16})
	if edit != nil {
		edit(msg)
	}
	return msg
}

func with(code uint8, value ...byte) func(*dhcpv4.DHCPv4) {
	return func(m *dhcpv4.DHCPv4) { setOption(m, code, value) }
}

func TestUnusableGrantsAreRefused(t *testing.T) {
	for name, edit := range map[string]func(*dhcpv4.DHCPv4){
		"no address":             func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4zero },
		"nil address":            func(m *dhcpv4.DHCPv4) { m.YourIPAddr = nil },
		"loopback":               func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(127, 0, 0, 1) },
		"multicast":              func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(224, 0, 0, 1) },
		"broadcast":              func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4bcast },
		"network's own":          func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(192, 0, 2, 0) },
		"network's broadcast":    func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(192, 0, 2, 255) },
		"no server":              func(m *dhcpv4.DHCPv4) { delete(m.Options, OptServerID) },
		"short server":           with(OptServerID, 192, 0, 2),
		"IPv6 server":            with(OptServerID, make([]byte, 16)...),
		"server is multicast":    with(OptServerID, 224, 0, 0, 1),
		"mask with holes":        with(OptSubnetMask, 255, 0, 255, 0),
		"mask of zero":           with(OptSubnetMask, 0, 0, 0, 0),
		"half the Internet":      with(OptSubnetMask, 128, 0, 0, 0),
		"long mask":              with(OptSubnetMask, 255, 255, 255, 0, 0),
		"lease that is no lease": with(OptLeaseTime, 0, 0, 0, 0),
	} {
		if l, err := parseGrant(reply(t, dhcpv4.MessageTypeAck, edit), anything); err == nil {
			t.Errorf("%s: accepted as %+v", name, l)
		}
	}
}

func TestPrefixWithoutAMaskIsThatOfTheClass(t *testing.T) {
	msg := reply(t, dhcpv4.MessageTypeAck, func(m *dhcpv4.DHCPv4) { delete(m.Options, OptSubnetMask) })
	l, err := parseGrant(msg, anything)
	if err != nil || l.Address != netip.MustParsePrefix("192.0.2.10/24") {
		t.Errorf("%v %v", l.Address, err)
	}
}

func TestTimes(t *testing.T) {
	for _, tt := range []struct {
		name       string
		edit       func(*dhcpv4.DHCPv4)
		t1, t2, to time.Duration
	}{
		{"defaults of RFC 2131", nil, 1800 * time.Second, 3150 * time.Second, time.Hour},
		{"as sent", func(m *dhcpv4.DHCPv4) {
			setOption(m, OptT1, []byte{0, 0, 0, 60})
			setOption(m, OptT2, []byte{0, 0, 0, 90})
		}, time.Minute, 90 * time.Second, time.Hour},
		{"T1 after T2", func(m *dhcpv4.DHCPv4) {
			setOption(m, OptT1, []byte{0, 0, 0, 90})
			setOption(m, OptT2, []byte{0, 0, 0, 60})
		}, time.Minute, time.Minute, time.Hour},
		{"T2 after the end", with(OptT2, 0xff, 0, 0, 0), 1800 * time.Second, 3150 * time.Second, time.Hour},
		{"no lease time", func(m *dhcpv4.DHCPv4) { delete(m.Options, OptLeaseTime) }, 1800 * time.Second, 3150 * time.Second, time.Hour},
	} {
		l, err := parseGrant(reply(t, dhcpv4.MessageTypeAck, tt.edit), anything)
		if err != nil || l.T1 != tt.t1 || l.T2 != tt.t2 || l.Lifetime != tt.to {
			t.Errorf("%s: T1 %s, T2 %s, expiry %s, %v", tt.name, l.T1, l.T2, l.Lifetime, err)
		}
	}
	l, err := parseGrant(reply(t, dhcpv4.MessageTypeAck, with(OptLeaseTime, 255, 255, 255, 255)), anything)
	if err != nil || !l.Infinite() || l.T1 != 0 {
		t.Errorf("infinite: %+v, %v", l, err)
	}
}

func TestNamesCannotWriteIntoResolvConf(t *testing.T) {
	for _, hostile := range []string{"a\nnameserver 203.0.113.9", "a b", "a;b", "a\x00b", "-a", strings.Repeat("a", 64), "ä.test", "#x"} {
		l, err := parseGrant(reply(t, dhcpv4.MessageTypeAck, func(m *dhcpv4.DHCPv4) {
			setOption(m, OptDomainName, []byte(hostile))
			var search []byte
			for label := range strings.SplitSeq(hostile, ".") {
				search = append(append(search, byte(len(label))), label...)
			}
			setOption(m, OptDomainSearch, append(search, 0))
		}), anything)
		if err != nil || l.Domain != "" || len(l.Search) != 0 {
			t.Errorf("%q: domain %q, search %q, %v", hostile, l.Domain, l.Search, err)
		}
	}
}

func TestSearchList(t *testing.T) {
	for name, tt := range map[string]struct {
		in   string
		want []string
	}{
		"two names":            {"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04", []string{"eng.apple.com", "marketing.apple.com"}}, // RFC 3397, section 2
		"pointer to itself":    {"\xc0\x00", nil},
		"pointer forwards":     {"\xc0\x02\x01a\x00", nil},
		"pointers in a circle": {"\x01a\xc0\x00", nil},
		"pointer cut off":      {"\x01a\xc0", nil},
		"label cut off":        {"\x01a\x00\x09b", []string{"a"}},
		"no end":               {"\x01a", nil},
		"dot in a label":       {"\x03a.b\x00", nil},
		"bomb":                 {strings.Repeat("\x3f"+strings.Repeat("a", 63), 5) + "\x00", nil},
	} {
		if got := parseSearch([]byte(tt.in)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if n := len(parseSearch([]byte(strings.Repeat("\x01a\x00", 100)))); n != maxSearch {
		t.Errorf("%d names", n)
	}
}

func TestRoutesThatTheKernelWouldRefuseAreLeftOut(t *testing.T) {
	for name, tt := range map[string]struct {
		code uint8
		in   []byte
		want string
	}{
		"gateway not on the link":   {OptClasslessRoutes, []byte{24, 198, 51, 100, 10, 0, 0, 1}, ""},
		"gateway behind a route":    {OptClasslessRoutes, []byte{0, 203, 0, 113, 5, 32, 203, 0, 113, 5, 0, 0, 0, 0}, "203.0.113.5/32>0.0.0.0 0.0.0.0/0>203.0.113.5"},
		"gateway is the broadcast":  {OptClasslessRoutes, []byte{0, 192, 0, 2, 255}, ""},
		"router is the broadcast":   {OptRouters, []byte{192, 0, 2, 255}, ""},
		"router is the network":     {OptRouters, []byte{192, 0, 2, 0}, ""},
		"twice":                     {OptClasslessRoutes, []byte{0, 192, 0, 2, 1, 0, 192, 0, 2, 2}, "0.0.0.0/0>192.0.2.1"},
		"the prefix itself":         {OptClasslessRoutes, []byte{24, 192, 0, 2, 0, 0, 0, 0}, ""},
		"host bits":                 {OptClasslessRoutes, []byte{12, 10, 255, 192, 0, 2, 1}, "10.240.0.0/12>192.0.2.1"},
		"mask over 32":              {OptClasslessRoutes, []byte{33, 1, 2, 3, 4, 5, 192, 0, 2, 1}, ""},
		"cut off":                   {OptClasslessRoutes, []byte{24, 198, 51}, ""},
		"loopback":                  {OptClasslessRoutes, []byte{8, 127, 192, 0, 2, 1}, ""},
		"static host":               {OptStaticRoutes, []byte{10, 1, 2, 3, 192, 0, 2, 1}, "10.1.2.3/32>192.0.2.1"},
		"static default":            {OptStaticRoutes, []byte{0, 0, 0, 0, 192, 0, 2, 1}, ""},
		"router outside the prefix": {OptRouters, []byte{203, 0, 113, 1}, "203.0.113.1/32>0.0.0.0 0.0.0.0/0>203.0.113.1"},
		"router is multicast":       {OptRouters, []byte{224, 0, 0, 1}, ""},
	} {
		l, err := parseGrant(reply(t, dhcpv4.MessageTypeAck, with(tt.code, tt.in...)), anything)
		var got []string
		for _, r := range l.Routes {
			got = append(got, r.Destination.String()+">"+r.Gateway.String())
		}
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q (%v)", name, got, tt.want, err)
		}
	}
}

func TestListsAreCut(t *testing.T) {
	many := slices.Repeat([]byte{192, 0, 2, 7}, 60)
	var routes []byte
	for i := range 200 {
		routes = append(routes, 32, 198, 51, 100, byte(i), 192, 0, 2, 1)
	}
	l, err := parseGrant(reply(t, dhcpv4.MessageTypeAck, func(m *dhcpv4.DHCPv4) {
		setOption(m, OptDNS, many)
		setOption(m, OptNTP, many)
		setOption(m, OptClasslessRoutes, routes)
	}), anything)
	if err != nil || len(l.DNS) > maxAddrs || len(l.NTP) > maxAddrs || len(l.Routes) > maxRoutes {
		t.Errorf("%d DNS, %d NTP, %d routes, %v", len(l.DNS), len(l.NTP), len(l.Routes), err)
	}
}

// FuzzLease feeds what a host of the LAN can send, from the IP packet on.
func FuzzReply(f *testing.F) {
	f.Add(reply(f, dhcpv4.MessageTypeAck, func(m *dhcpv4.DHCPv4) {
		setOption(m, OptDomainSearch, []byte("\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"))
		setOption(m, OptClasslessRoutes, []byte{0, 192, 0, 2, 1, 24, 198, 51, 100, 192, 0, 2, 1})
		setOption(m, OptStaticRoutes, []byte{10, 1, 2, 3, 192, 0, 2, 1})
		setOption(m, OptRouters, []byte{192, 0, 2, 1})
		setOption(m, OptDNS, []byte{192, 0, 2, 1})
		setOption(m, OptDomainName, []byte("lan.test\x00"))
	}).ToBytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		udpPayload(b)
		claims(b, net.HardwareAddr{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.0.2.10"))
		msg, err := parseMessage(b)
		if err != nil {
			if strings.Contains(err.Error(), "panic") {
				t.Fatal(err)
			}
			return
		}
		l, err := parseGrant(msg, anything)
		if err != nil {
			if strings.Contains(err.Error(), "panic") {
				t.Fatal(err)
			}
			return
		}
		for _, name := range append(slices.Clone(l.Search), l.Domain) {
			if name != "" && !grant.ValidDomain(name) {
				t.Errorf("name %q", name)
			}
		}
		if !UsableHost(l.Address.Addr()) || l.Address.Bits() < minMask || len(l.Routes) > maxRoutes+2 {
			t.Errorf("lease %+v", l)
		}
	})
}
