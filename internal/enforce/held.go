package enforce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/net-porter/net-porter/internal/enforce/nft"
)

// Held is what an attachment may send as.
type Held struct {
	// ID names the attachment, e.g. attachment.Key.String().
	ID string
	// Parent is the name of the host's link that its macvlan hangs on.
	Parent string
	// MAC is the interface's, of six bytes.
	MAC net.HardwareAddr
	// Addrs are its IPv4 and IPv6 addresses so far as they are known. Its IPv6
	// link-local address, if that follows from the MAC (RFC 4291, appendix A), is not
	// needed here.
	Addrs []netip.Addr
	// SLAAC: it may send from any global IPv6 address whose last 64 bits follow from the
	// MAC. For resources on which the container's kernel makes addresses of router
	// advertisements (RFC 4862): their prefix is the router's choice, and can change.
	SLAAC bool
}

// ErrHeld says that what an attachment is said to hold cannot be enforced.
var ErrHeld = errors.New("cannot be enforced")

func (h Held) check() error {
	switch {
	case h.ID == "" || h.Parent == "":
		return fmt.Errorf("%w: an attachment without a name or a parent", ErrHeld)
	case len(h.MAC) != macLen || h.MAC[0]&1 != 0 || [macLen]byte(h.MAC) == [macLen]byte{}:
		return fmt.Errorf("%w: %q is no MAC of an interface", ErrHeld, h.MAC)
	}
	for _, a := range h.Addrs {
		if a = a.Unmap(); !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return fmt.Errorf("%w: %s is no address of an interface", ErrHeld, a)
		}
	}
	return nil
}

const macLen = 6

// element is one in a set of the table netTable.
type element struct{ set, key string }

// elements are what the kernel has to know of an attachment whose frames come in by a gate.
func (h Held) elements(gate int) []element {
	link, mac, id := linkKey(gate), []byte(h.MAC), interfaceID(h.MAC)
	all := []element{
		{setMACs, nft.Key(link, mac)},
		{setIPv6, nft.Key(link, mac, append([]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0}, id...))},
	}
	if h.SLAAC {
		all = append(all, element{setIDs, nft.Key(link, mac, append(make([]byte, 8), id...))})
	}
	for _, a := range h.Addrs {
		a = a.Unmap().WithZone("")
		set := setIPv6
		if a.Is4() {
			set = setIPv4
		}
		if e := (element{set, nft.Key(link, mac, a.AsSlice())}); !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}

// linkKey is the index of a link as the kernel compares it.
func linkKey(index int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(index)) }

// interfaceID is the modified EUI-64 of a MAC (RFC 4291, appendix A).
func interfaceID(mac net.HardwareAddr) []byte {
	return []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
}
