package attachment

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// One user's detaches do not make another's reload fail.
func TestReplaysAreBoundedPerUser(t *testing.T) {
	m := open(t, t.TempDir(), &runner{})
	remember := func(uid uint32, id, ip string) Key {
		k := Key{uid, id, "eth0"}
		m.replays.remember(m.View(&Record{Key: k, Resource: "lan", Result: &Result{CNI: &types100.Result{
			IPs: []*types100.IPConfig{{Address: net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(24, 32)}}},
		}}}), m.now())
		return k
	}
	for i := range 2 * replaysPerUser {
		remember(1001, string(rune('a'+i%26))+strings.Repeat("x", i), "192.0.2.7")
	}
	if _, ok := m.Replays(remember(1000, "c1", "192.0.2.7"), "lan", nil, nil); !ok {
		t.Error("alice's container is not remembered")
	}
	// Whoever is at the bound is remembered by what they had last.
	first := remember(1001, "a", "192.0.2.8")
	if _, ok := m.Replays(first, "lan", []netip.Addr{netip.MustParseAddr("192.0.2.8")}, nil); !ok {
		t.Error("a container that is remembered is not so with its new address")
	}
}
