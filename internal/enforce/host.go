package enforce

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/enforce/nft"
)

// host is what the daemon's own namespace has at a moment.
type host struct {
	byName  map[string]int
	byIndex map[int]netlink.Link
	ipv4    [][]byte
}

// look asks the kernel. It is asked again if links come and go meanwhile.
func look() (*host, error) {
	for range 10 {
		h, err := lookOnce()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return h, err
		}
	}
	return nil, errors.New("cannot list the host's links: they change all the while")
}

func lookOnce() (*host, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("cannot list the host's links: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("cannot list the host's addresses: %w", err)
	}
	h := &host{byName: map[string]int{}, byIndex: map[int]netlink.Link{}}
	for _, l := range links {
		h.byName[l.Attrs().Name], h.byIndex[l.Attrs().Index] = l.Attrs().Index, l
	}
	for _, a := range addrs {
		if ip := a.IP.To4(); ip != nil && !ip.IsLoopback() {
			h.ipv4 = append(h.ipv4, ip)
		}
	}
	return h, nil
}

// own are the links of the host's that send by a parent: itself, and macvlans that the
// host has for itself and for its virtual machines.
func (h *host) own(parent int) []netlink.Link {
	var links []netlink.Link
	for _, l := range h.byIndex {
		onParent := (l.Type() == "macvlan" || l.Type() == "macvtap") &&
			l.Attrs().ParentIndex == parent && l.Attrs().NetNsID < 0 // of this namespace
		if (onParent || l.Attrs().Index == parent) && len(l.Attrs().HardwareAddr) == macLen {
			links = append(links, l)
		}
	}
	return links
}

// elements are what the kernel has to know of the host on a parent and its gate, and of
// which links of the host's lead to it.
func (h *host) elements(parent, gate int) (of []element, leads []string) {
	for _, l := range h.own(parent) {
		link, mac := linkKey(gate), []byte(l.Attrs().HardwareAddr)
		leads = append(leads, string(linkKey(l.Attrs().Index)))
		of = append(of, element{setHostMACs, nft.Key(link, mac)}, element{setHostMACs, nft.Key(linkKey(parent), mac)})
		for _, ip := range h.ipv4 {
			of = append(of, element{setHostARP, nft.Key(link, mac, ip)})
		}
	}
	return of, leads
}

// indexOf asks for the index of a link without rtnl_lock, 0 if there is none.
func indexOf(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("%q is no name of a link: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	switch err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); {
	case errors.Is(err, unix.ENODEV):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("cannot look for link %s: %w", name, err)
	}
	return int(request.Uint32()), nil
}
