package dhcp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func parseIPAM(ipam, args string) (*request, error) {
	return parseRequest(testID, testIfname, args, fmt.Appendf(nil, `{"cniVersion":"1.0.0","name":"lan","ipam":{"type":"dhcp"%s}}`, ipam))
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
		if _, err := parseRequest(testID, testIfname, "", []byte(stdin)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", stdin, err)
		}
	}
}

func TestProvide(t *testing.T) {
	const provide = `,"provide":[{"option":"host-name","value":"fallback","fromArg":"K8S_POD_NAME"},` +
		`{"option":"vendor-class-identifier","value":"np"},{"option":"dhcp-client-identifier","fromArg":"CID"}]`
	for _, tt := range []struct{ args, host, clientID string }{
		{"IgnoreUnknown=1", "fallback", "\x00" + testID + "/lan/eth0"},
		{"IgnoreUnknown=1;K8S_POD_NAME=web", "web", "\x00" + testID + "/lan/eth0"},
		{"K8S_POD_NAME=proj_web.1-", "proj_web.1", "\x00" + testID + "/lan/eth0"},
		{"K8S_POD_NAME=a b\nc;CID=my-id", "a-b-c", "my-id"},
		{"K8S_POD_NAME=---", "", "\x00" + testID + "/lan/eth0"},
		{"K8S_POD_NAME=" + strings.Repeat("x", 70), strings.Repeat("x", 63), "\x00" + testID + "/lan/eth0"},
	} {
		r, err := parseIPAM(provide, tt.args)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		sent := ""
		for _, o := range r.options {
			if o.Code == optHostName {
				sent = string(o.Value)
			}
		}
		if sent != tt.host || r.hostName != tt.host || string(r.clientID) != tt.clientID {
			t.Errorf("%q: host name %q, client id %q", tt.args, sent, r.clientID)
		}
	}
}

func TestClientIDFitsAnOption(t *testing.T) {
	if n := len(defaultClientID(strings.Repeat("a", 200), strings.Repeat("b", 200), "eth0")); n != 255 {
		t.Errorf("%d bytes", n)
	}
}
