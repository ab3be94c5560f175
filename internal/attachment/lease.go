package attachment

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/netns"
)

// Finder opens namespaces again; *netns.Finder is one.
type Finder interface {
	Find(context.Context, netns.Wanted) (*netns.Namespace, error)
}

// place is an attachment's interface, reached again.
type place struct {
	*netns.Namespace
	index int
}

func (p place) Index() int { return p.index }

// Reopen opens the namespace of an attachment again for its leases, after it has made
// sure that the interface is still there and still hangs on the host's link: what the
// namespace's user may have put in its place is none of ours to write addresses to.
// The id is CNI's container id.
func (m *Manager) Reopen(ctx context.Context, id, ifname string) (dhcp.Place, error) {
	r, ok := m.Get(keyOf(id, ifname))
	switch {
	case !ok:
		return nil, dhcp.ErrNoAttachment
	case r.State == Pending:
		return nil, dhcp.ErrNotYet
	case r.State != Attached || r.Link == 0:
		return nil, fmt.Errorf("the attachment is in state %s", r.State)
	}
	switch l, there, err := m.namespaces.Link(r.NSID, r.Link); {
	case err != nil:
		return nil, err
	case !there || r.OnHost && !l.OnHost || !r.OnHost && !slices.Contains(r.MACs(), l.MAC.String()):
		return nil, fmt.Errorf("the interface is no longer in the container's namespace %s", r.Namespace)
	}
	ns, err := m.finder.Find(ctx, r.wanted())
	if err != nil {
		return nil, err
	}
	return place{ns, r.Link}, nil
}

// wanted is the record's namespace as it is found again.
func (r *Record) wanted() netns.Wanted {
	return netns.Wanted{ID: r.Namespace, NSID: r.NSID, UID: r.UID}
}

// keyOf reads CNI's container id, "<uid>.<container id>".
func keyOf(id, ifname string) Key {
	uid, container, _ := strings.Cut(id, ".")
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return Key{}
	}
	return Key{UID: uint32(n), ContainerID: container, Interface: ifname}
}

// View is an attachment as it is now: leases may have changed what ADD has answered.
type View struct {
	*Record
	// CNI is the result with the addresses and routes of today; nil before there is one.
	CNI *types100.Result
	// Leases are those of the interface, IPv4 first.
	Leases []dhcp.Status
}

// View looks at a record.
func (m *Manager) View(r *Record) View {
	v := View{Record: r, Leases: m.leases.Status(r.CNIContainerID(), r.Interface)}
	if r.Result == nil || r.Result.CNI == nil {
		return v
	}
	result := *r.Result.CNI
	v.CNI = &result
	for _, was := range r.Result.Leases {
		i := slices.IndexFunc(v.Leases, func(s dhcp.Status) bool { return s.Family == was.Family })
		if i >= 0 && (v.Leases[i].Lease.Acquired != was.Acquired || v.Leases[i].Expired) {
			overlay(&result, was, v.Leases[i].Lease)
		}
	}
	return v
}

// overlay puts what a lease is now in the place of what it was.
func overlay(result *types100.Result, was, is dhcp.Lease) {
	var ips []*types100.IPConfig
	for _, ip := range result.IPs {
		if prefixOf(ip) != was.Address {
			ips = append(ips, ip)
			continue
		}
		if !is.Expired {
			now := *ip
			given := is.CNI()
			now.Address, now.Gateway = given.IPs[0].Address, given.IPs[0].Gateway
			ips = append(ips, &now)
		}
	}
	result.IPs = ips
	before := was.CNI().Routes
	routes := slices.DeleteFunc(slices.Clone(result.Routes), func(r *types.Route) bool {
		return slices.ContainsFunc(before, func(b *types.Route) bool { return b.Dst.String() == r.Dst.String() && b.GW.Equal(r.GW) })
	})
	if !is.Expired {
		routes = append(routes, is.CNI().Routes...)
	}
	result.Routes = routes
}

func prefixOf(ip *types100.IPConfig) netip.Prefix {
	addr, _ := netip.AddrFromSlice(ip.Address.IP)
	bits, _ := ip.Address.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}
