package server

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
)

func TestHostDNS(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		ok(t, os.WriteFile(path, []byte(content), 0o644))
		return path
	}
	stub := file("nameserver 127.0.0.53\nsearch stub.example\n")
	upstream := file("# real\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\nsearch lan.example bad_;domain\n")
	tests := []struct {
		name  string
		have  api.DNS
		files []string
		want  api.DNS
	}{
		{"what is there stays", api.DNS{Nameservers: []string{"192.0.2.1"}}, []string{upstream}, api.DNS{Nameservers: []string{"192.0.2.1"}}},
		{"the host's", api.DNS{}, []string{upstream}, api.DNS{Nameservers: []string{"192.0.2.53", "2001:db8::53"}, Search: []string{"lan.example"}}},
		{"behind a stub on loopback", api.DNS{}, []string{stub, upstream}, api.DNS{Nameservers: []string{"192.0.2.53", "2001:db8::53"}, Search: []string{"lan.example"}}},
		{"search stays", api.DNS{Search: []string{"mine"}}, []string{upstream}, api.DNS{Nameservers: []string{"192.0.2.53", "2001:db8::53"}, Search: []string{"mine"}}},
		{"none", api.DNS{}, []string{stub, "/nowhere"}, api.DNS{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.have
			hostDNS{tt.files}.fill(&got)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
