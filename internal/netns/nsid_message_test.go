package netns

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// message is struct nlmsghdr and a body (netlink(7)).
func message(kind uint16, body ...byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(b, uint32(cap(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	return append(b, body...)
}

// attribute is struct rtattr and its value, with the padding (rtnetlink(3)).
func attribute(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%unix.RTA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func nsid(id int32) []byte {
	return attribute(unix.NETNSA_NSID, binary.NativeEndian.AppendUint32(nil, uint32(id))...)
}

func TestDeadIDs(t *testing.T) {
	header := make([]byte, rtgenmsgLen)
	dead := func(attributes ...[]byte) []byte {
		return message(unix.RTM_DELNSID, slices.Concat(append([][]byte{header}, attributes...)...)...)
	}
	for _, tt := range []struct {
		name     string
		datagram []byte
		want     []int32
		ok       bool
	}{
		{"nothing", nil, nil, true},
		{"one", dead(nsid(7)), []int32{7}, true},
		{"several in one datagram", slices.Concat(dead(nsid(7)), dead(nsid(firstID+8))), []int32{7, firstID + 8}, true},
		{"after an attribute that needs padding", dead(attribute(99, 1), nsid(7)), []int32{7}, true},
		{"a namespace that was given an id", message(unix.RTM_NEWNSID, slices.Concat(header, nsid(7))...), nil, true},
		{"no id", dead(attribute(99, 1, 2, 3, 4)), nil, false},
		{"no body", message(unix.RTM_DELNSID), nil, false},
		{"an id of one byte", dead(attribute(unix.NETNSA_NSID, 7)), nil, false},
		{"an attribute longer than the message", dead([]byte{0xff, 0x7f, 1, 0}), nil, false},
		{"an attribute without a length", dead([]byte{0, 0, 1, 0}), nil, false},
		{"cut", dead(nsid(7))[:18], nil, false},
		{"not padded at its end", message(unix.RTM_DELNSID, slices.Concat(header, attribute(99, 1)[:5])...), nil, false},
	} {
		if got, ok := deadIDs(tt.datagram); ok != tt.ok || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v; want %v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzDeadIDs(f *testing.F) {
	f.Add(message(unix.RTM_DELNSID, slices.Concat(make([]byte, rtgenmsgLen), attribute(99, 1), nsid(7))...))
	f.Fuzz(func(_ *testing.T, datagram []byte) { deadIDs(datagram) }) // must not panic
}
