package attachment

import (
	"net"
	"net/netip"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/linkaddr"
)

// What is read in the container's namespace is what its root has put there: while the
// plugins report, or while addresses are waited for, root may set the MAC of another
// machine, or its address, and must not be let send as that for good.
func TestHeldIsNotWhatTheContainerSays(t *testing.T) {
	m := open(t, t.TempDir(), &runner{})
	r := &Record{
		Key: Key{UID: 1000, ContainerID: "c", Interface: "eth0"}, Parent: "infra",
		Args: [][2]string{{argMAC, "02:00:00:00:00:0a"}},
		Result: &Result{CNI: &types100.Result{
			Interfaces: []*types100.Interface{{Name: "eth0", Mac: "02:00:00:00:00:99", Sandbox: "/ns"}},
			IPs:        []*types100.IPConfig{ipConfig("192.0.2.50/24"), ipConfig("2001:db8::1/64")},
		}},
		Learned: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")},
	}
	h, err := m.held(r)
	if err != nil {
		t.Fatal(err)
	}
	if h.MAC.String() != "02:00:00:00:00:0a" {
		t.Errorf("it may send as MAC %s, which was found in the container", h.MAC)
	}
	if len(h.Addrs) != 1 || h.Addrs[0] != netip.MustParseAddr("192.0.2.50") {
		t.Errorf("it may send from %v, want what the plugins gave alone", h.Addrs)
	}
}

func ipConfig(prefix string) *types100.IPConfig {
	ip, network, err := net.ParseCIDR(prefix)
	if err != nil {
		panic(err)
	}
	return &types100.IPConfig{Address: net.IPNet{IP: ip, Mask: network.Mask}}
}

// Of what the kernel calls global some was never advertised, and could be taken for an IPv4
// address of another machine.
func TestLearnedIsWhatARouterCanAdvertise(t *testing.T) {
	for text, want := range map[string]bool{
		"2001:db8::1/64": true, "3fff::1/64": true, "fd00::1/64": true, "fc00::1/64": true,
		"::ffff:192.0.2.1/128": false, "::192.0.2.1/128": false, "64:ff9b::192.0.2.1/96": false, "ff0e::1/128": false, "4000::1/64": false,
	} {
		ready, _ := global([]linkaddr.Address{{Prefix: netip.MustParsePrefix(text), Scope: unix.RT_SCOPE_UNIVERSE}})
		if got := len(ready) == 1; got != want {
			t.Errorf("%s is learned: %v", text, got)
		}
	}
}

// Nobody loses what was granted to them to a container that has put it on its interface.
func TestNobodyHoldsWhatTheyGaveThemselves(t *testing.T) {
	m := open(t, t.TempDir(), &runner{})
	r := &Record{
		Key: Key{UID: 1000, ContainerID: "c", Interface: "eth0"}, Resource: "lan", Args: [][2]string{{argMAC, "02:00:00:00:00:0a"}},
		Result: &Result{CNI: &types100.Result{
			Interfaces: []*types100.Interface{{Name: "eth0", Mac: "02:00:00:00:00:99", Sandbox: "/ns"}},
			IPs:        []*types100.IPConfig{ipConfig("192.0.2.50/24"), ipConfig("2001:db8::1/64")},
		}},
		Learned: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")},
	}
	for claim, held := range map[*Claims]bool{
		{MAC: "02:00:00:00:00:0a"}: true, {MAC: "02:00:00:00:00:99"}: false,
		{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.50")}}: true, {IPs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}: false,
	} {
		if got := m.holds(r, claim); (got != "") != held {
			t.Errorf("%+v: held: %q", *claim, got)
		}
	}
}
