package policy

import (
	"net"
	"net/netip"
	"testing"
)

func TestAttach(t *testing.T) {
	lan := Resource{
		Name:   "lan",
		Users:  map[uint32]string{1000: "allow_users alice", 0: "allow_users root"},
		Groups: map[uint32]string{200: "allow_groups staff"},
	}
	ip := []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	tests := []struct {
		name    string
		subject Subject
		rules   Resource
		request Request
		want    Decision
	}{
		{"a listed user", Subject{UID: 1000}, lan, Request{}, Decision{Allowed: true, Rule: "allow_users alice"}},
		{"root, because it is listed", Subject{UID: 0}, lan, Request{}, Decision{Allowed: true, Rule: "allow_users root"}},
		{"root is not special where it is not listed", Subject{UID: 0}, Resource{Name: "other"}, Request{}, Decision{Reason: ReasonNotListed}},
		{"a member of a listed group", Subject{UID: 7, GIDs: []uint32{7, 200}}, lan, Request{}, Decision{Allowed: true, Rule: "allow_groups staff"}},
		{"a uid that equals a listed gid", Subject{UID: 200, GIDs: []uint32{9}}, lan, Request{}, Decision{Reason: ReasonNotListed}},
		{"a gid that equals a listed uid", Subject{UID: 7, GIDs: []uint32{1000}}, lan, Request{}, Decision{Reason: ReasonNotListed}},
		{"a stranger", Subject{UID: 1001, GIDs: []uint32{1001}}, lan, Request{}, Decision{Reason: ReasonNotListed}},
		{"no rules, nobody", Subject{UID: 1000, GIDs: []uint32{200}}, Resource{}, Request{}, Decision{Reason: ReasonNotListed}},
		{"a static address", Subject{UID: 1000}, lan, Request{StaticIPs: ip}, Decision{Reason: ReasonStaticAddress}},
		{"a static MAC", Subject{UID: 1000}, lan, Request{StaticMAC: mac}, Decision{Reason: ReasonStaticAddress}},
		{"a replay of what it had", Subject{UID: 1000}, lan, Request{StaticIPs: ip, StaticMAC: mac, Replay: true}, Decision{Allowed: true, Rule: "allow_users alice"}},
		{"a stranger's replay", Subject{UID: 1001}, lan, Request{StaticIPs: ip, Replay: true}, Decision{Reason: ReasonNotListed}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Attach(tt.subject, tt.rules, tt.request); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
