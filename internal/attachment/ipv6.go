package attachment

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/linkaddr"
	"github.com/net-porter/net-porter/internal/netns"
)

// addIPv6 waits, if the request does, until the interface's IPv6 addresses are ready, and
// adds those that the kernel has made of router advertisements (RFC 4862) to a new record's
// result. That there are none when the wait is over is no error: the LAN may have no IPv6.
func (m *Manager) addIPv6(ctx context.Context, r *Record, q Request) error {
	if q.IPv6Wait <= 0 || r.Link == 0 {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, q.IPv6Wait)
	defer cancel()
	addrs, err := awaitIPv6(waiting, q.Namespace, r.Link)
	if err != nil {
		return fmt.Errorf("cannot wait for IPv6 addresses: %w", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	result := *r.Result.CNI
	container := containerLink(&result, r.Interface)
	for _, a := range addrs {
		if !hasAddress(&result, a.Prefix) {
			ip := net.IPNet{IP: a.Prefix.Addr().AsSlice(), Mask: net.CIDRMask(a.Prefix.Bits(), 128)}
			r.Learned = append(r.Learned, a.Prefix)
			result.IPs = append(result.IPs, &types100.IPConfig{Interface: container, Address: ip})
		}
	}
	extended := *r.Result
	extended.CNI = &result
	r.Result = &extended
	return nil
}

// awaitIPv6 returns the link's global addresses when there are some and all of them are
// ready (RFC 4862, section 5.4), or those that are ready when ctx ends.
func awaitIPv6(ctx context.Context, ns *netns.Namespace, index int) ([]linkaddr.Address, error) {
	var changes *nl.NetlinkSocket
	var socket *linkaddr.Socket
	err := ns.Do(func() (err error) {
		if changes, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV6_IFADDR); err != nil {
			return err
		}
		socket, err = linkaddr.Open()
		return err
	})
	if changes != nil {
		defer changes.Close()
	}
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	stop := context.AfterFunc(ctx, changes.Close) // ends Receive
	defer stop()
	for {
		// The subscription is older than this look, so no change is missed.
		addrs, err := socket.List(index)
		if err != nil && !errors.Is(err, linkaddr.ErrTooMany) {
			return nil, err
		}
		ready, tentative := global(addrs)
		if err != nil || len(ready) > 0 && !tentative || ctx.Err() != nil {
			return ready, nil
		}
		if _, _, err := changes.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) && ctx.Err() == nil {
			return nil, err
		}
	}
}

func global(addrs []linkaddr.Address) (ready []linkaddr.Address, tentative bool) {
	for _, a := range addrs {
		switch {
		case a.Scope != unix.RT_SCOPE_UNIVERSE || a.IsDuplicate() || !advertised(a.Prefix.Addr()):
		case a.IsTentative():
			tentative = true
		default:
			ready = append(ready, a)
		}
	}
	return ready, tentative
}

// advertised says whether an address can have been made of a router advertisement. The
// namespace's root can add any other, of which the kernel says "global" as well: one that
// has an IPv4 address in it (RFC 4291, section 2.5.5) must not come to stand for that.
func advertised(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.IsGlobalUnicast() && (a.IsPrivate() || a.As16()[0]&0xe0 == 0x20)
}

func containerLink(result *types100.Result, name string) *int {
	for i, l := range result.Interfaces {
		if l.Name == name && l.Sandbox != "" {
			return types100.Int(i)
		}
	}
	return nil
}

func hasAddress(result *types100.Result, p netip.Prefix) bool {
	return slices.ContainsFunc(result.IPs, func(c *types100.IPConfig) bool { return prefixOf(c).Addr() == p.Addr() })
}
