package addrrange

import (
	"fmt"
	"net"
	"regexp"
	"strings"
)

// MAC is a range of MAC addresses (EUI-48), from First to Last as numbers, both in it.
type MAC struct{ First, Last uint64 }

// macPattern is six octets with colons, as ip-link(8) and podman write them.
var macPattern = regexp.MustCompile(`^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$`)

// ParseMAC reads "02:00:00:aa:00:01" or "02:00:00:aa:00:00-02:00:00:aa:00:ff". A range
// holds no group address, and not the address of nobody, 00:00:00:00:00:00.
func ParseMAC(text string) (MAC, error) {
	from, to, isRange := strings.Cut(text, "-")
	first, err := parseOne(from)
	if err != nil {
		return MAC{}, err
	}
	r := MAC{first, first}
	if isRange {
		if r.Last, err = parseOne(to); err != nil {
			return MAC{}, err
		}
	}
	switch {
	case r.Last < r.First:
		return MAC{}, fmt.Errorf("%s comes after %s: did you mean %[2]s-%[1]s?", from, to)
	case r.First == 0:
		return MAC{}, fmt.Errorf("%s is the address of no interface", from)
	}
	if octet := r.firstGroup(); octet >= 0 {
		return MAC{}, fmt.Errorf("%s holds group addresses, beginning with %02x, which no interface can have", text, octet)
	}
	return r, nil
}

// firstGroup is the first octet of group addresses (IEEE 802, section 8.2.2) in the
// range, or -1.
func (r MAC) firstGroup() int {
	for octet := r.First >> 40; octet <= r.Last>>40; octet++ {
		if octet&1 != 0 {
			return int(octet)
		}
	}
	return -1
}

func parseOne(text string) (uint64, error) {
	if !macPattern.MatchString(text) {
		return 0, fmt.Errorf("%.64q is neither a MAC address, such as 02:00:00:aa:00:01, nor a range of them, such as 02:00:00:aa:00:00-02:00:00:aa:00:ff", text)
	}
	mac, err := net.ParseMAC(text)
	if err != nil {
		return 0, err
	}
	return number(mac), nil
}

func number(mac net.HardwareAddr) uint64 {
	var n uint64
	for _, octet := range mac {
		n = n<<8 | uint64(octet)
	}
	return n
}

// MACNumber is an address as the ends of a range are, ok only for one of six octets.
func MACNumber(mac net.HardwareAddr) (n uint64, ok bool) { return number(mac), len(mac) == 6 }

// Contains says whether an address is in the range; one that is not of six octets never is.
func (r MAC) Contains(mac net.HardwareAddr) bool {
	n, ok := MACNumber(mac)
	return ok && r.First <= n && n <= r.Last
}

// Overlaps says whether two ranges have an address in common.
func (r MAC) Overlaps(other MAC) bool { return r.First <= other.Last && other.First <= r.Last }

// String writes the range as ParseMAC reads it.
func (r MAC) String() string {
	if r.First == r.Last {
		return spell(r.First)
	}
	return spell(r.First) + "-" + spell(r.Last)
}

func spell(n uint64) string {
	mac := make(net.HardwareAddr, 6)
	for i := range mac {
		mac[i] = byte(n >> (40 - 8*i))
	}
	return mac.String()
}
