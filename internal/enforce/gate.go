package enforce

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// gate is a pair of links (veth(4)) through which frames of containers pass on their way
// to a parent: sent out of one end, they come in by the other, where they are looked at.
// In between the kernel does what a sender has put off: it writes checksums, and cuts
// large packets into frames. Done after the look, a checksum's place, which a raw socket
// chooses (PACKET_VNET_HDR of packet(7)), could be an address.
type gate struct {
	out, in int    // indexes; 0: not there
	device  string // the name of the latter
}

const (
	gateOut = "npout" // with the parent's index behind, of up to ten digits
	gateIn  = "npin"
	gateMTU = 65535 // what the parent takes is for the parent to say

	earlierGateOut = "npgate-out" // before, which had room for five digits
)

// addrGenNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h: no IPv6 address.
const addrGenNone = 1

func gateNames(parent int) (out, in string) {
	return gateOut + strconv.Itoa(parent), gateIn + strconv.Itoa(parent)
}

// gate finds a parent's, and neither end of one that is not whole.
func (h *host) gate(parent int) gate {
	out, in := gateNames(parent)
	g := gate{h.byName[out], h.byName[in], in}
	for _, end := range [][2]int{{g.out, g.in}, {g.in, g.out}} {
		l, ok := h.byIndex[end[0]]
		if !ok || l.Type() != "veth" || l.Attrs().ParentIndex != end[1] || l.Attrs().NetNsID >= 0 || l.Attrs().RawFlags&unix.IFF_UP == 0 {
			return gate{}
		}
	}
	return g
}

// makeGate makes a parent's gate, in the place of what may be left of one.
func makeGate(h *host, parent int) error {
	out, in := gateNames(parent)
	for _, name := range []string{out, in} {
		if l, ok := h.byIndex[h.byName[name]]; ok {
			if err := removeLink(l); err != nil {
				return err
			}
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.TxQLen = out, gateMTU, 0
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerMTU = in, gateMTU
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("cannot make the links %s and %s: %w", out, in, err)
	}
	// The one that sends last: a link that comes up while its peer is down drops what it is
	// to send until the kernel gets round to it.
	for _, name := range []string{in, out} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			// The host itself has nothing to say there.
			err = errors.Join(netlink.LinkSetARPOff(l), ignoreNoIPv6(netlink.LinkSetIP6AddrGenMode(l, addrGenNone)))
		}
		if err == nil {
			err = errors.Join(withoutOffload(name), netlink.LinkSetUp(l))
		}
		if err != nil {
			return fmt.Errorf("cannot prepare the link %s: %w", name, err)
		}
	}
	return nil
}

// ignoreNoIPv6 takes what a kernel says that has IPv6 off (ipv6.disable=1).
func ignoreNoIPv6(err error) error {
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// removeGates removes those that no parent in the picture has.
func removeGates(h *host, p picture) error {
	var errs []error
	for name, index := range h.byName {
		parent, ok := parentIn(name, gateOut)
		_, used := p.links[parent]
		if _, earlier := parentIn(name, earlierGateOut); ok && !used || earlier {
			errs = append(errs, removeLink(h.byIndex[index]))
		}
	}
	return errors.Join(errs...)
}

// parentIn is the index in the name of a gate's end.
func parentIn(name, prefix string) (index int, ok bool) {
	number, ok := strings.CutPrefix(name, prefix)
	index, err := strconv.Atoi(number)
	return index, ok && err == nil
}

// removeLink removes a link; that it is gone is no error.
func removeLink(l netlink.Link) error {
	if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot remove the link %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// withoutOffload has a link's checksums written before a frame is handed to it
// (ETHTOOL_STXCSUM of linux/ethtool.h), and with that large packets cut.
func withoutOffload(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	value := struct{ command, data uint32 }{command: unix.ETHTOOL_STXCSUM}
	request := struct { // struct ifreq (netdevice(7))
		name  [unix.IFNAMSIZ]byte
		value unsafe.Pointer
		_     [16]byte
	}{value: unsafe.Pointer(&value)}
	copy(request.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return os.NewSyscallError("ioctl(ETHTOOL_STXCSUM)", errno)
	}
	return nil
}
