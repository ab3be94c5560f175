// Package identity owns what makes a container the same one to its LAN each time it
// is made: the identifiers that a DHCP server and the switches know it by.
//
// They are derived, not stored: whoever removes a container and makes it again under
// its name, as `podman run --replace` and an update of its image do, gets the same
// MAC address and the same identifiers, and so the same lease, reservation and name
// in DNS. For that, the derivation never changes from one release to the next. All
// of it is HMAC-SHA256 with a key of the host's ([NewHost]):
//
//	key(seed)       = HMAC(seed, "net-porter identity 1")
//	hash(what, ...) = HMAC(key, each of what and the fields as its length, 8 bytes, and itself)
//	DUID            = 00 04, then UUID of hash("duid", uid, name)
//	IAID            = first 4 bytes of hash("iaid", resource, interface)
//	MAC             = first 6 bytes of hash("mac", uid, name, resource, interface, attempt)
//
// Numbers are big-endian; uid has 4 bytes and attempt 8. A UUID is the first 16
// bytes with the version and variant bits of RFC 9562 section 5.8 set.
//
// The key keeps the LAN from learning names and the host's machine id from what it
// sees. It is no secret from the host's own users, who can read the machine id: an
// identifier proves nothing, and what somebody may do never depends on one.
package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// Host derives the identities of one host's containers. The zero Host is not one.
type Host struct {
	key [sha256.Size]byte
}

// application makes the key another than that of any other program which derives
// one from the machine id, as sd_id128_get_machine_app_specific(3) asks. The number
// is that of the derivation.
const application = "net-porter identity 1"

// NewHost makes a Host of a seed that no other host has: 16 bytes or more. The seed
// cannot be found from anything that Host gives.
func NewHost(seed []byte) Host {
	mac := hmac.New(sha256.New, seed)
	mac.Write([]byte(application))
	return Host{key: [sha256.Size]byte(mac.Sum(nil))}
}

// Format writes no key, with any verb, since what is formatted ends up in logs.
func (Host) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "identity.Host") }

// Container is one interface of a container. Two that differ in any field are two
// machines to the LAN, or two interfaces of one machine when only Resource and
// Interface differ.
type Container struct {
	UID       uint32 // whose container it is, on the host
	Name      string // the container's name or its id; the caller decides by what it is known again
	Resource  string // the configuration's name for the network
	Interface string // the name inside the container, such as "eth0"
}

// Identity is what a container's interface is known by.
type Identity struct {
	// DUID is a DUID-UUID: type 4, then 16 bytes (RFC 6355 section 4). It is the same
	// for all interfaces of a container (RFC 8415 section 11).
	DUID []byte
	// IAID tells the interfaces of a container apart (RFC 8415 section 12).
	IAID uint32
	// MAC is unicast and locally administered, as [Host.MAC] gives it at attempt 0.
	MAC net.HardwareAddr
}

// Identity returns the identity of c: the same for the same host and the same c,
// in every release of net-porter.
func (h Host) Identity(c Container) Identity {
	id := h.hash("duid", number32(c.UID), []byte(c.Name))
	uuid := id[:16]
	// Version 8 is for what an application makes its own way (RFC 9562 section 5.8).
	uuid[6] = uuid[6]&0x0f | 0x80
	uuid[8] = uuid[8]&0x3f | 0x80
	iaid := h.hash("iaid", []byte(c.Resource), []byte(c.Interface))
	return Identity{
		DUID: append([]byte{0, 4}, uuid...),
		IAID: binary.BigEndian.Uint32(iaid),
		MAC:  h.MAC(c, 0),
	}
}

// MAC returns an address for c that is unicast and locally administered (RFC 9542
// section 2.1). Attempts count from 0 and give one address each: 46 bits are no
// promise that no other container has it, so who finds that one does takes the next.
func (h Host) MAC(c Container, attempt int) net.HardwareAddr {
	id := h.hash("mac", number32(c.UID), []byte(c.Name), []byte(c.Resource), []byte(c.Interface),
		binary.BigEndian.AppendUint64(nil, uint64(attempt)))
	mac := net.HardwareAddr(id[:6:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// ClientID returns the value of DHCPv4's option 61: type 255, the IAID and the DUID
// (RFC 4361 section 6.1). With it a server sees the same client in both families.
func (i Identity) ClientID() []byte {
	id := binary.BigEndian.AppendUint32([]byte{255}, i.IAID)
	return append(id, i.DUID...)
}

// hash writes each field after its length, so that no two lists of fields are one
// text, and what it is for before all of them, so that no hash is two things.
func (h Host) hash(what string, fields ...[]byte) []byte {
	mac := hmac.New(sha256.New, h.key[:])
	for _, field := range append([][]byte{[]byte(what)}, fields...) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(field))))
		mac.Write(field)
	}
	return mac.Sum(nil)
}

func number32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
