package cni

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestStaticAddresses(t *testing.T) {
	const (
		static = `"type":"static","addresses":[{"address":"192.0.2.50/24","gateway":"192.0.2.1"},{"address":"2001:db8::50/64","gateway":"2001:db8::1"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]`
		local  = `"type":"host-local","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.100","rangeEnd":"192.0.2.110","gateway":"192.0.2.1"}],[{"subnet":"2001:db8::/64"}]]`
	)
	tests := []struct{ name, ipam, asks, want, says string }{
		{"static keeps prefix length, gateway, routes and the other family", static, "192.0.2.7",
			`{"addresses":[{"address":"192.0.2.7/24","gateway":"192.0.2.1"},{"address":"2001:db8::50/64","gateway":"2001:db8::1"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}],"type":"static"}`, ""},
		{"static, both families", static, "192.0.2.7 2001:db8::7",
			`{"addresses":[{"address":"192.0.2.7/24","gateway":"192.0.2.1"},{"address":"2001:db8::7/64","gateway":"2001:db8::1"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}],"type":"static"}`, ""},
		{"static, twice the same, as network reload sends it", static, "192.0.2.7 ::ffff:192.0.2.7",
			`{"addresses":[{"address":"192.0.2.7/24","gateway":"192.0.2.1"},{"address":"2001:db8::50/64","gateway":"2001:db8::1"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}],"type":"static"}`, ""},
		{"static, outside of its networks", static, "198.51.100.7", "", "198.51.100.7 is in none of the networks"},
		{"static, the gateway", static, "192.0.2.1", "", "gateway's own"},
		{"static, the network", static, "192.0.2.0", "", "the address of the network 192.0.2.0/24 itself"},
		{"static, the broadcast address", static, "192.0.2.255", "", "broadcast"},
		{"static without addresses", `"type":"static"`, "192.0.2.7", "", "in none of the networks"},
		{"host-local asks for it", local, "192.0.2.100 2001:db8::7", "", ""},
		{"host-local, before its range", local, "192.0.2.99", "", "in none of the ranges"},
		{"host-local, after its range", local, "192.0.2.111", "", "in none of the ranges"},
		{"one of two cannot be had", local, "192.0.2.100 198.51.100.1", "", "198.51.100.1 is in none of the ranges"},
		{"dhcp", `"type":"dhcp"`, "192.0.2.7", "", "no IPv4 addresses of its own"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := Parse("lan", []byte(`{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"macvlan","ipam":{`+tt.ipam+`}}]}`))
			if err != nil {
				t.Fatal(err)
			}
			var ips []netip.Addr
			for _, text := range strings.Fields(tt.asks) {
				ips = append(ips, netip.MustParseAddr(text))
			}
			before := string(n.Bytes())
			got, err := n.WithStaticAddresses(ips)
			if string(n.Bytes()) != before {
				t.Error("the network itself was changed")
			}
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) || !errors.Is(err, ErrNoSuchAddress) {
					t.Errorf("%v, want an error that says %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var conf struct {
				Plugins []struct {
					IPAM json.RawMessage `json:"ipam"`
					Args struct {
						CNI struct {
							IPs []string `json:"ips"`
						} `json:"cni"`
					} `json:"args"`
				} `json:"plugins"`
			}
			if err := json.Unmarshal(got.Bytes(), &conf); err != nil {
				t.Fatal(err)
			}
			if tt.want != "" && string(conf.Plugins[0].IPAM) != tt.want {
				t.Errorf("ipam is %s, want %s", conf.Plugins[0].IPAM, tt.want)
			}
			if tt.want == "" && strings.Join(conf.Plugins[0].Args.CNI.IPs, " ") != tt.asks {
				t.Errorf("asked for are %v, want %s", conf.Plugins[0].Args.CNI.IPs, tt.asks)
			}
		})
	}
}
