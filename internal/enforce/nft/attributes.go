// Package nft owns the few netlink messages by which rules of nf_tables are written and
// looked at (linux/netfilter/nf_tables.h): tables, sets, chains, rules and their
// expressions.
//
// It is no library for everything that nf_tables can do. The daemon must not depend on
// the nft program, which need not be installed; github.com/google/nftables would make the
// daemon 0.4 MB larger and bring a second netlink library, and has no way to check a
// batch without carrying it out, nor to write into a chain that may or may not be there.
package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// attributes are netlink attributes (struct nlattr) as they are sent.
type attributes []byte

func (a *attributes) bytes(kind uint16, value []byte) {
	*a = binary.NativeEndian.AppendUint16(*a, uint16(unix.NLA_HDRLEN+len(value)))
	*a = binary.NativeEndian.AppendUint16(*a, kind)
	*a = append(*a, value...)
	a.align()
}

func (a *attributes) align() {
	for len(*a)%unix.NLA_ALIGNTO != 0 {
		*a = append(*a, 0)
	}
}

// text is a string with the NUL that the kernel wants.
func (a *attributes) text(kind uint16, value string) { a.bytes(kind, append([]byte(value), 0)) }

// number is one of nf_tables', which are big-endian.
func (a *attributes) number(kind uint16, value uint32) {
	a.bytes(kind, binary.BigEndian.AppendUint32(nil, value))
}

func (a *attributes) nest(kind uint16, fill func(*attributes)) {
	var inner attributes
	fill(&inner)
	a.bytes(kind|unix.NLA_F_NESTED, inner)
}

// each calls fn for every attribute of a message's, until one does not make sense.
func each(data []byte, fn func(kind uint16, value []byte)) {
	for len(data) >= unix.NLA_HDRLEN {
		size := int(binary.NativeEndian.Uint16(data))
		if size < unix.NLA_HDRLEN || size > len(data) {
			return
		}
		fn(binary.NativeEndian.Uint16(data[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), data[unix.NLA_HDRLEN:size])
		data = data[min(len(data), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
}

// textOf reads what text has written.
func textOf(value []byte) string {
	for i, b := range value {
		if b == 0 {
			return string(value[:i])
		}
	}
	return string(value)
}
