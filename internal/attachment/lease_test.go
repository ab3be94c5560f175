package attachment

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/identity"
	"github.com/net-porter/net-porter/internal/netns"
)

// held is a lease service that holds what it is told to.
type held struct {
	*dhcp.Service
	leases []dhcp.Status
}

func (h held) Status(string, string) []dhcp.Status { return h.leases }

func lease(addr, gateway string) dhcp.Lease {
	return dhcp.Lease{Family: dhcp.IPv4, DHCP4: &dhcp4.Params{}, Grant: grant.Grant{
		Address: netip.MustParsePrefix(addr),
		Routes:  []grant.Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr(gateway)}},
	}}
}

// What a lease has become is shown in the place of what ADD answered; what is not of the
// lease stays.
func TestViewFollowsTheLease(t *testing.T) {
	m := open(t, t.TempDir(), &runner{})
	was := lease("192.0.2.10/24", "192.0.2.1")
	_, own, _ := net.ParseCIDR("198.51.100.0/24")
	result := was.CNI()
	result.IPs = append(result.IPs, &types100.IPConfig{Address: net.IPNet{IP: net.ParseIP("2001:db8::7"), Mask: net.CIDRMask(64, 128)}})
	result.Routes = append(result.Routes, &types.Route{Dst: *own})
	r := &Record{Key: Key{1000, "c1", "eth0"}, Result: &Result{CNI: result, Leases: []dhcp.Lease{was}}}

	moved := lease("192.0.2.20/25", "192.0.2.3")
	moved.Acquired = 5
	expired := was
	expired.Expired = true
	for name, tt := range map[string]struct {
		now         []dhcp.Status
		ips, routes string
	}{
		"as it was":       {[]dhcp.Status{{Lease: was}}, "192.0.2.10/24 2001:db8::7/64", "0.0.0.0/0>192.0.2.1 198.51.100.0/24><nil>"},
		"another address": {[]dhcp.Status{{Lease: moved}}, "192.0.2.20/25 2001:db8::7/64", "198.51.100.0/24><nil> 0.0.0.0/0>192.0.2.3"},
		"expired":         {[]dhcp.Status{{Lease: expired}}, "2001:db8::7/64", "198.51.100.0/24><nil>"},
	} {
		m.leases = held{leases: tt.now}
		v := m.View(r)
		var ips, routes string
		for _, ip := range v.CNI.IPs {
			ips += " " + ip.Address.String()
		}
		for _, route := range v.CNI.Routes {
			routes += " " + route.Dst.String() + ">" + route.GW.String()
		}
		if ips != " "+tt.ips || routes != " "+tt.routes {
			t.Errorf("%s: addresses%s, routes%s", name, ips, routes)
		}
	}
	if len(r.Result.CNI.IPs) != 2 || r.Result.CNI.IPs[0].Address.String() != "192.0.2.10/24" {
		t.Error("the record was changed")
	}
}

type finderOf struct{ err error }

func (f finderOf) Find(context.Context, netns.Wanted) (*netns.Namespace, error) { return nil, f.err }

// What the namespace's user has put in the interface's place is not written to.
func TestReopenWantsTheVeryInterface(t *testing.T) {
	w := &world{id: someID, links: []netns.Link{
		{Index: 2, Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, OnHost: true},
		{Index: 3, Name: "eth1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}},
		{Index: 4, Name: "hw0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 3}},
	}}
	m := open(t, t.TempDir(), &runner{world: w})
	errFound := errors.New("found")
	m.finder = finderOf{errFound}
	hardware := &Result{CNI: &types100.Result{Interfaces: []*types100.Interface{{Name: "eth0", Mac: "02:00:00:00:00:03", Sandbox: "x"}}}}
	for name, tt := range map[string]struct {
		record *Record
		want   error
	}{
		"its interface":             {&Record{State: Attached, Link: 2, OnHost: true}, errFound},
		"one that the user made":    {&Record{State: Attached, Link: 3, OnHost: true}, nil},
		"gone":                      {&Record{State: Attached, Link: 9, OnHost: true}, nil},
		"hardware moved into it":    {&Record{State: Attached, Link: 4, Result: hardware}, errFound},
		"not that hardware":         {&Record{State: Attached, Link: 3, Result: hardware}, nil},
		"not finished":              {&Record{State: Pending}, dhcp.ErrNotYet},
		"on its way out":            {&Record{State: Detaching, Link: 2, OnHost: true}, nil},
		"an attachment that is not": {nil, dhcp.ErrNoAttachment},
	} {
		key := Key{1000, "c1", "eth0"}
		m.withdraw(&Record{Key: key})
		if tt.record != nil {
			tt.record.Key, tt.record.NSID = key, someID
			m.records[key] = tt.record
		}
		_, err := m.Reopen(t.Context(), "1000.c1", "eth0")
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || tt.want == nil && errors.Is(err, errFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of two that go by one name the second is known by its id; a MAC is nobody's twice.
func TestReserveKeepsIdentitiesApart(t *testing.T) {
	m := open(t, t.TempDir(), &runner{})
	m.host = identity.NewHost([]byte("some host that is this test's own"))
	reserve := func(uid uint32, id, name string) *Record {
		r := &Record{Key: Key{uid, id, "eth0"}, Resource: "lan"}
		m.reserve(r, Request{KnownAs: name, StableMAC: true})
		return r
	}
	first, second, other := reserve(1000, "c1", "web"), reserve(1000, "c2", "web"), reserve(1001, "c1", "web")
	if first.KnownAs != "web" || second.KnownAs != "c2" || other.KnownAs != "web" {
		t.Errorf("known as %q, %q and %q", first.KnownAs, second.KnownAs, other.KnownAs)
	}
	// Somebody has the MAC that a container of this name would get.
	would := m.host.MAC(identity.Container{UID: 1000, Name: "db", Resource: "lan", Interface: "eth0"}, 0)
	m.records[Key{1001, "x", "eth0"}] = &Record{Key: Key{1001, "x", "eth0"}, Args: [][2]string{{argMAC, would.String()}}}
	if third := reserve(1000, "c3", "db"); third.hasMAC(would.String()) {
		t.Errorf("two interfaces have %s", would)
	}
}
