package dhcp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// apply makes the interface have the lease's address and routes, and nothing of the
// grants that they replace. It may be repeated. A route that the kernel refuses is left
// out: the address is worth more.
func (l *link) apply(lease *Lease, log *slog.Logger) error {
	for i := range lease.Undone {
		if err := l.exchange(lease, &lease.Undone[i]); err != nil {
			return err
		}
	}
	if lease.Expired {
		return nil
	}
	l.setMTU(lease.MTU, log)
	if err := l.ensureAddress(lease.Address); err != nil {
		return err
	}
	var refused []error
	for _, r := range lease.Routes {
		if err := l.handle.RouteAdd(l.route(r, lease.Priority)); err != nil && !errors.Is(err, unix.EEXIST) {
			refused = append(refused, fmt.Errorf("to %s by %s: %w", r.Destination, r.Gateway, err))
		}
	}
	if len(refused) > 0 { // of dozens, in each second, where somebody means harm: one record
		log.Warn("routes that the DHCP server names cannot be used", "count", len(refused), "first", refused[0])
	}
	return nil
}

// exchange removes what the interface has of a former grant and not of the present one.
func (l *link) exchange(lease *Lease, old *grant.Grant) error {
	for _, r := range old.Routes {
		if !lease.Expired && slices.Contains(lease.Routes, r) {
			continue
		}
		// Routes through the old address go with it, or were taken away by the container.
		if err := l.handle.RouteDel(l.route(r, lease.Priority)); err != nil && !isNotThere(err) {
			return fmt.Errorf("cannot remove the route to %s: %w", r.Destination, err)
		}
	}
	if !lease.Expired && old.Address == lease.Address {
		return nil
	}
	if !lease.Expired {
		// First the new one: without any address the kernel drops all routes of the link,
		// those of the container's own making among them.
		if err := l.ensureAddress(lease.Address); err != nil {
			return err
		}
	}
	if err := l.handle.AddrDel(l.netlinkLink(), address(old.Address)); err != nil && !isNotThere(err) {
		return fmt.Errorf("cannot remove the address %s: %w", old.Address, err)
	}
	return nil
}

// ensureAddress also puts back an address that went with another of the same network
// (promote_secondaries, ip-sysctl).
func (l *link) ensureAddress(p netip.Prefix) error {
	if err := l.handle.AddrAdd(l.netlinkLink(), address(p)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("cannot add the address %s: %w", p, err)
	}
	return nil
}

// setMTU follows option 26, but not above the parent's MTU, where the kernel refuses it.
func (l *link) setMTU(mtu int, log *slog.Logger) {
	if mtu == 0 {
		return
	}
	dev, err := l.handle.LinkByIndex(l.index)
	if err != nil || dev.Attrs().MTU == mtu {
		return
	}
	if err := l.handle.LinkSetMTU(dev, mtu); err != nil {
		log.Warn("the MTU that the DHCP server names cannot be used", "mtu", mtu, "error", err)
	}
}

func (l *link) route(r grant.Route, priority int) *netlink.Route {
	dst := ipNet(r.Destination)
	route := &netlink.Route{LinkIndex: l.index, Dst: &dst, Priority: priority}
	if r.Gateway.IsUnspecified() {
		route.Scope = netlink.SCOPE_LINK
	} else {
		route.Gw = r.Gateway.AsSlice()
	}
	return route
}

func (l *link) netlinkLink() netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.index, Name: l.name}}
}

func address(p netip.Prefix) *netlink.Addr {
	n := ipNet(p)
	return &netlink.Addr{IPNet: &n}
}

// isNotThere says whether a removal failed for want of what to remove.
func isNotThere(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)
}
