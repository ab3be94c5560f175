package addrrange

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestIP(t *testing.T) {
	for _, tt := range []struct {
		text    string
		in, out string
	}{
		{"192.0.2.64/28", "192.0.2.64 192.0.2.70 192.0.2.79", "192.0.2.63 192.0.2.80 ::ffff:192.0.2.70 2001:db8::1"},
		{"192.0.2.100-192.0.2.120", "192.0.2.100 192.0.2.120", "192.0.2.99 192.0.2.121"},
		{"192.0.2.7", "192.0.2.7", "192.0.2.6 192.0.2.8"},
		{"192.0.2.7/32", "192.0.2.7", "192.0.2.6 192.0.2.8"},
		{"0.0.0.0/0", "0.0.0.0 255.255.255.255", "::"},
		{"10.0.0.255-10.0.1.0", "10.0.0.255 10.0.1.0", "10.0.0.254 10.0.1.1"},
		{"2001:db8::/64", "2001:db8:: 2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1:: 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 192.0.2.1"},
		{"2001:db8::10-2001:db8::1f", "2001:db8::10 2001:db8::1f", "2001:db8::f 2001:db8::20"},
		{"2001:DB8::7", "2001:db8::7", "2001:db8::6"},
	} {
		r, err := ParseIP(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		for _, text := range strings.Fields(tt.in) {
			if !r.Contains(netip.MustParseAddr(text)) {
				t.Errorf("%s does not hold %s", tt.text, text)
			}
		}
		for _, text := range strings.Fields(tt.out) {
			if r.Contains(netip.MustParseAddr(text)) {
				t.Errorf("%s holds %s", tt.text, text)
			}
		}
	}
}

func TestBadIP(t *testing.T) {
	for text, says := range map[string]string{
		"":                        "neither an address",
		"192.0.2":                 "neither an address",
		"192.0.2.256":             "neither an address",
		"192.0.2.007":             "neither an address",
		"192.0.2.70/28":           "within the network 192.0.2.64/28",
		"192.0.2.0/33":            "is not a network",
		"192.0.2.0/":              "is not a network",
		"192.0.2.0/24-192.0.2.9":  "is not a network",
		"192.0.2.9-192.0.2.1":     "did you mean 192.0.2.1-192.0.2.9?",
		"192.0.2.9-2001:db8::1":   "not of one family",
		"192.0.2.1-":              "neither an address",
		"192.0.2.1 - 192.0.2.9":   "neither an address",
		"::ffff:192.0.2.1":        "IPv4 address as such",
		"::ffff:192.0.2.0/120":    "IPv4 address as such",
		"fe80::1%eth0":            "zone",
		"192.0.2.1-192.0.2.9-etc": "neither an address",
		strings.Repeat("1", 1000): "neither an address",
	} {
		if r, err := ParseIP(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v, want an error that says %q", text, r, err, says)
		}
	}
}

func TestMAC(t *testing.T) {
	for _, tt := range []struct{ text, in, out string }{
		{"02:00:00:aa:00:00-02:00:00:aa:00:ff", "02:00:00:aa:00:00 02:00:00:AA:00:ff", "02:00:00:a9:ff:ff 02:00:00:aa:01:00 02:00:00:00:00:aa:00:01"},
		{"02:00:00:AA:00:01", "02:00:00:aa:00:01", "02:00:00:aa:00:00 02:00:00:aa:00:02"},
	} {
		r, err := ParseMAC(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		check := func(list string, want bool) {
			for _, text := range strings.Fields(list) {
				mac, err := net.ParseMAC(text)
				if err != nil {
					t.Fatal(err)
				}
				if r.Contains(mac) != want {
					t.Errorf("%s holds %s: %v", tt.text, text, !want)
				}
			}
		}
		check(tt.in, true)
		check(tt.out, false)
	}
}

func TestBadMAC(t *testing.T) {
	for text, says := range map[string]string{
		"":                                    "neither a MAC",
		"02-00-00-aa-00-01":                   "neither a MAC",
		"02:00:00:aa:00":                      "neither a MAC",
		"02:00:00:aa:00:01/40":                "neither a MAC",
		"01:00:5e:00:00:01":                   "group addresses, beginning with 01",
		"02:00:00:00:00:00-04:00:00:00:00:00": "group addresses, beginning with 03",
		"00:00:00:00:00:00":                   "no interface",
		"02:00:00:aa:00:09-02:00:00:aa:00:01": "did you mean 02:00:00:aa:00:01-02:00:00:aa:00:09?",
	} {
		if r, err := ParseMAC(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v, want an error that says %q", text, r, err, says)
		}
	}
}

// What is read is written so that it reads the same, and holds both of its ends.
func FuzzIP(f *testing.F) {
	for _, seed := range []string{"192.0.2.64/28", "192.0.2.1-192.0.2.9", "2001:db8::/64", "::", "::/0", "1-2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseIP(text)
		if err != nil {
			return
		}
		if again, err := ParseIP(r.String()); err != nil || again != r {
			t.Errorf("%q is %v, and that is %v (%v)", text, r, again, err)
		}
		if !r.Contains(r.First) || !r.Contains(r.Last) || r.First.Prev().IsValid() && r.Contains(r.First.Prev()) || r.Last.Next().IsValid() && r.Contains(r.Last.Next()) {
			t.Errorf("%q does not end where it ends", text)
		}
	})
}

func FuzzMAC(f *testing.F) {
	f.Add("02:00:00:aa:00:00-02:00:00:aa:00:ff")
	f.Add("02:00:00:aa:00:01")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseMAC(text)
		if err != nil {
			return
		}
		if again, err := ParseMAC(r.String()); err != nil || again != r {
			t.Errorf("%q is %v, and that is %v (%v)", text, r, again, err)
		}
	})
}
