package attachment

import (
	"context"
	"errors"
	"fmt"
	"net"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/netns"
)

// addIPv6 adds to a new record's result the IPv6 addresses that the kernel has made of
// router advertisements (RFC 4862), if the request waits for them. That there are none
// when the wait is over is no error: the LAN may have no IPv6.
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
		if !hasAddress(&result, a.IP) {
			result.IPs = append(result.IPs, &types100.IPConfig{Interface: container, Address: *a.IPNet})
		}
	}
	extended := *r.Result
	extended.CNI = &result
	r.Result = &extended
	return nil
}

// awaitIPv6 returns the link's global addresses when there are some and all of them are
// ready (RFC 4862, section 5.4), or those that are ready when ctx ends.
func awaitIPv6(ctx context.Context, ns *netns.Namespace, index int) ([]netlink.Addr, error) {
	var changes *nl.NetlinkSocket
	var handle *netlink.Handle
	err := ns.Do(func() (err error) {
		if changes, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV6_IFADDR); err != nil {
			return err
		}
		handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if changes != nil {
		defer changes.Close()
	}
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	stop := context.AfterFunc(ctx, changes.Close) // ends Receive
	defer stop()
	for {
		// The subscription is older than this look, so no change is missed.
		ready, tentative, err := globalIPv6(handle, index)
		if err != nil || len(ready) > 0 && !tentative || ctx.Err() != nil {
			return ready, err
		}
		if _, _, err := changes.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) && ctx.Err() == nil {
			return nil, err
		}
	}
}

func globalIPv6(handle *netlink.Handle, index int) (ready []netlink.Addr, tentative bool, err error) {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	addrs, err := handle.AddrList(link, unix.AF_INET6)
	if err != nil {
		return nil, false, err
	}
	for _, a := range addrs {
		switch {
		case a.Scope != int(netlink.SCOPE_UNIVERSE) || a.Flags&unix.IFA_F_DADFAILED != 0:
		case a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0:
			tentative = true
		default:
			ready = append(ready, a)
		}
	}
	return ready, tentative, nil
}

func containerLink(result *types100.Result, name string) *int {
	for i, l := range result.Interfaces {
		if l.Name == name && l.Sandbox != "" {
			return types100.Int(i)
		}
	}
	return nil
}

func hasAddress(result *types100.Result, ip net.IP) bool {
	for _, c := range result.IPs {
		if c.Address.IP.Equal(ip) {
			return true
		}
	}
	return false
}
