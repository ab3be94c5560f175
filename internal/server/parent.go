package server

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/cni"
)

// looking has one request at a time look for its parent link. They would wait for one
// another in the kernel (rtnl_lock), with a thread each.
var looking sync.Mutex

// parentFault says what keeps a network from using its parent link: in words that go
// on from the link's name, and as an error for the log. A parent that is there and
// cannot work would keep the caller waiting for the plugins to find out.
func parentFault(network *cni.Network, parent string) (words string, err error) {
	looking.Lock()
	link, err := netlink.LinkByName(parent)
	looking.Unlock()
	if err != nil {
		return "which is not there on this host: the administrator has to bring it up or correct the resource's network configuration",
			fmt.Errorf("cannot find link %s: %w", parent, err)
	}
	// host-device moves the link itself and brings it up in the container.
	if slices.Contains(network.Types(), "host-device") {
		return "", nil
	}
	flags := link.Attrs().RawFlags // netdevice(7)
	if flags&unix.IFF_UP == 0 {
		return "which is down: the administrator has to bring it up (ip link set " + parent + " up)",
			errors.New("link " + parent + " is down")
	}
	// Static addresses may well be given before the cable is in.
	if network.UsesDHCP() && flags&unix.IFF_LOWER_UP == 0 {
		return "which has no carrier, so that no DHCP server can answer: the administrator has to look at its cable, switch port or, of a bridge, its ports",
			errors.New("link " + parent + " has no carrier")
	}
	return "", nil
}
