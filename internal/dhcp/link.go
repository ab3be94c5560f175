package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/hostlink"
)

// errMACBusy says that a link cannot be up beside another one that has its MAC.
var errMACBusy = errors.New("another interface on the same parent has its MAC")

// link is an interface in a namespace, seen through sockets that were opened inside
// it and work from anywhere.
type link struct {
	name    string
	index   int
	mac     net.HardwareAddr
	handle  *netlink.Handle   // nil of the host's
	changes *nl.NetlinkSocket // RTNLGRP_LINK, after watch
}

// openLink must be called inside the link's namespace. The link is known by its index,
// or where that is 0 by its name.
func openLink(name string, index int) (*link, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open netlink: %w", err)
	}
	l := &link{handle: handle}
	var dev netlink.Link
	if index != 0 {
		dev, err = handle.LinkByIndex(index)
	} else {
		dev, err = handle.LinkByName(name)
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("cannot find interface %s: %w: %w", name, grant.ErrLinkDown, err)
	}
	l.name, l.index, l.mac = dev.Attrs().Name, dev.Attrs().Index, dev.Attrs().HardwareAddr
	if len(l.mac) != 6 {
		l.close()
		return nil, fmt.Errorf("interface %s is no Ethernet link: DHCP needs one", name)
	}
	return l, nil
}

// hostLink is a link of the host's, by its index or where that is 0 by its name. However
// many are looked for at a time takes few threads.
func hostLink(name string, index int) (*link, error) {
	var (
		view  hostlink.View
		found hostlink.Link
		there bool
		err   error
	)
	if index != 0 {
		found, there, err = view.Indexed(index)
	} else {
		found, there, err = view.Named(name)
	}
	if err == nil && !there {
		err = grant.ErrLinkDown
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find the parent interface %s: %w", name, err)
	}
	return &link{name: found.Name, index: found.Index}, nil
}

// watch subscribes to the link's changes. It must be called inside its namespace.
func (l *link) watch() (err error) {
	if l.changes, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK); err != nil {
		return fmt.Errorf("cannot watch links: %w", err)
	}
	return nil
}

// setUp sets the link up. Its errors wrap grant.ErrLinkDown.
func (l *link) setUp() error {
	dev, err := l.handle.LinkByIndex(l.index)
	if err != nil {
		return fmt.Errorf("cannot find interface %s again: %w", l.name, err)
	}
	if dev.Attrs().RawFlags&unix.IFF_UP != 0 {
		return nil
	}
	switch err = l.handle.LinkSetUp(dev); {
	case err == nil:
		return nil
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("cannot set %s up: %w: %w %s", l.name, grant.ErrLinkDown, errMACBusy, l.mac)
	case errors.Is(err, unix.ENETDOWN):
		return fmt.Errorf("cannot set %s up: %w: its parent interface on the host is down", l.name, grant.ErrLinkDown)
	}
	return fmt.Errorf("cannot set %s up: %w: %w", l.name, grant.ErrLinkDown, err)
}

// waitReady waits until the link has carrier and can send, or ctx ends. Its errors
// wrap grant.ErrLinkDown when the time has run out, else ctx's cause.
func (l *link) waitReady(ctx context.Context) error {
	stop := context.AfterFunc(ctx, l.changes.Close) // ends Receive
	defer stop()
	for {
		// The subscription is older than this look, so no change is missed.
		dev, err := l.handle.LinkByIndex(l.index)
		if err != nil {
			return fmt.Errorf("interface %s has vanished: %w", l.name, err)
		}
		const ready = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
		if dev.Attrs().RawFlags&ready == ready {
			return nil
		}
		// ENOBUFS says that changes were lost, which is a reason to look again.
		if _, _, err := l.changes.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			if ctx.Err() != nil {
				return l.noCarrier(ctx)
			}
			return fmt.Errorf("cannot watch interface %s: %w", l.name, err)
		}
	}
}

func (l *link) noCarrier(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, grant.ErrTimeout) {
		return cause
	}
	return fmt.Errorf("%w: %s has no carrier: is the host's parent interface up and its cable plugged in?", grant.ErrLinkDown, l.name)
}

func (l *link) close() {
	if l.changes != nil {
		l.changes.Close()
	}
	if l.handle != nil {
		l.handle.Close()
	}
}

func parseMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("the lease's MAC %.32q is none", text)
	}
	return mac, nil
}
