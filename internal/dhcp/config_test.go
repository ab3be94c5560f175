package dhcp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
)

func parseIPAM(ipam, args string) (*request, error) {
	return parseRequest(args, fmt.Appendf(nil, `{"cniVersion":"1.0.0","name":"lan","ipam":{"type":"dhcp"%s}}`, ipam))
}

func TestWhatIsAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name, ipam string
		want       []uint8
	}{
		{"nothing said", ``, []uint8{1, 121, 3, 33, 26, 42, 6, 15, 119}},
		{"more than the default", `,"request":[{"option":"tftp-server-name"},{"option":"routers"}]`, []uint8{1, 121, 3, 33, 26, 42, 66, 6, 15, 119}},
		{"only the mask", `,"request":[{"skipDefault":true,"option":"subnet-mask"}]`, []uint8{1, 6, 15, 119}},
		{"skipDefault in a later entry", `,"request":[{"option":"3"},{"skipDefault":true}]`, []uint8{3, 6, 15, 119}},
	} {
		r, err := parseIPAM(tt.ipam, "")
		if err != nil || !slices.Equal(r.codes, tt.want) {
			t.Errorf("%s: %v, want %v (%v)", tt.name, r.codes, tt.want, err)
		}
	}
}

func TestConfigurationErrorsNameTheOption(t *testing.T) {
	for _, tt := range []struct{ ipam, says string }{
		{`,"request":[{"option":"router"}]`, `"router"`},
		{`,"request":[{"option":"256"}]`, `"256"`},
		{`,"request":[{"option":"255"}]`, `"255"`},
		{`,"request":[{"option":"-1"}]`, `"-1"`},
		{`,"provide":[{"option":"hostname","value":"a"}]`, `"hostname"`},
		{`,"request":[{"option":"router"}]`, `did you mean "routers"`},
		{`,"provide":[{"option":"hostname","value":"a"}]`, `did you mean "host-name"`},
		{`,"provide":[{"option":"host-name"}]`, "\"value\" or a \"fromArg\""},
		{`,"provide":[{"option":"host-name","fromArg":"CONTAINER_NAME"}]`, "K8S_POD_NAME, "},
		{`,"request":[{"skipDefault":"yes"}]`, "ipam.request.skipDefault must be true or false, not this string"},
		{`,"request":{}`, "ipam.request must be a list, not this object"},
		{`,"ipv66":true`, `did you mean "ipv6"`},
		{`,"IPv6":true`, `did you mean "ipv6"`},
		{`},"ipv6":true,"x":{"y":1`, `belongs into "ipam"`},
		{`,"provide":[{"option":"53","value":"a"}]`, "sets it itself"},
		{`,"provide":[{"option":"dhcp-server-identifier","value":"a"}]`, "sets it itself"},
		{`,"provide":[{"option":"host-name","value":"a b"}]`, "host name"},
		{`,"provide":[{"option":"60","value":"` + strings.Repeat("a", 256) + `"}]`, "255"},
		{`,"provide":[{"option":"dhcp-client-identifier","value":"a"}]`, "2 bytes"},
	} {
		_, err := parseIPAM(tt.ipam, "")
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%.80s: %v, want %q in it", tt.ipam, err, tt.says)
		}
	}
	for _, stdin := range []string{``, `{}`, `[]`, `{"ipam":3}`} {
		if _, err := parseRequest("", []byte(stdin)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", stdin, err)
		}
	}
}

func TestProvide(t *testing.T) {
	const provide = `,"provide":[{"option":"host-name","value":"fallback","fromArg":"K8S_POD_NAME"},` +
		`{"option":"vendor-class-identifier","value":"np"},{"option":"dhcp-client-identifier","fromArg":"NET_PORTER_HOSTNAME"}]`
	for _, tt := range []struct{ args, host, clientID string }{
		{"IgnoreUnknown=1", "fallback", ""},
		{"IgnoreUnknown=1;K8S_POD_NAME=web", "web", ""},
		{"K8S_POD_NAME=proj_web.1-", "proj_web.1", ""},
		{"K8S_POD_NAME=a b\nc;NET_PORTER_HOSTNAME=my-id", "a-b-c", "my-id"},
		{"K8S_POD_NAME=---", "", ""},
		{"K8S_POD_NAME=" + strings.Repeat("x", 70), strings.Repeat("x", 63), ""},
	} {
		r, err := parseIPAM(provide, tt.args)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		if got := sent(r, dhcp4.OptHostName); got != tt.host || r.hostName != tt.host || string(r.clientID) != tt.clientID {
			t.Errorf("%q: host name %q, client id %q", tt.args, got, r.clientID)
		}
	}
}

// sent is the value of an option that is sent, "" without it.
func sent(r *request, code uint16) string {
	for _, o := range r.options {
		if o.Code == code {
			return string(o.Value)
		}
	}
	return ""
}

// RFC 4702: with option 81 the host name has no option of its own.
func TestProvideFQDN(t *testing.T) {
	for _, tt := range []struct{ provide, args, want, host string }{
		{`{"option":"client-fqdn","fromArg":"K8S_POD_NAME"}`, "K8S_POD_NAME=web_1.lan", "\x05\x00\x00\x05web_1\x03lan\x00", "web_1.lan"},
		{`{"option":"81","fromArg":"K8S_POD_NAME"}`, "K8S_POD_NAME=web", "\x05\x00\x00\x03web", "web"},
		{`{"option":"fqdn","value":"web.example.org."},{"option":"host-name","value":"web"}`, "", "\x05\x00\x00\x03web\x07example\x03org\x00", "web.example.org"},
	} {
		r, err := parseIPAM(`,"provide":[`+tt.provide+`]`, tt.args)
		if err != nil || sent(r, dhcp4.OptFQDN) != tt.want || sent(r, dhcp4.OptHostName) != "" || r.hostName != tt.host {
			t.Errorf("%s: sends %q, host name %q, known as %q (%v)", tt.provide, sent(r, dhcp4.OptFQDN), sent(r, dhcp4.OptHostName), r.hostName, err)
		}
	}
}

func TestFamilies(t *testing.T) {
	for _, tt := range []struct {
		ipam string
		want []Family
	}{
		{``, []Family{IPv4}},
		{`,"ipv6":true`, []Family{IPv4, IPv6}},
		{`,"ipv4":false,"ipv6":true`, []Family{IPv6}},
		{`,"ipv4":false`, nil},
	} {
		r, err := parseIPAM(tt.ipam, "")
		if tt.want == nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", tt.ipam, err)
			}
		} else if err != nil || !slices.Equal(r.families, tt.want) {
			t.Errorf("%s: %v (%v)", tt.ipam, r.families, err)
		}
	}
}

func TestClientIDFitsAnOption(t *testing.T) {
	if n := len(defaultClientID(strings.Repeat("a", 200), strings.Repeat("b", 200), "eth0")); n != 255 {
		t.Errorf("%d bytes", n)
	}
}
