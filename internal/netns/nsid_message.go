package netns

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// rtgenmsgLen is struct rtgenmsg of linux/rtnetlink.h, one byte, with the padding
// that attributes need before them.
const rtgenmsgLen = unix.NLMSG_ALIGNTO

// deadIDs are the ids of the RTM_DELNSID messages among those of one datagram. It
// is not ok if the datagram is not understood.
func deadIDs(datagram []byte) (ids []int32, ok bool) {
	messages, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return nil, false
	}
	for _, m := range messages {
		if m.Header.Type != unix.RTM_DELNSID {
			continue
		}
		id, ok := nsidOf(m.Data)
		if !ok {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// nsidOf reads NETNSA_NSID from the body of an RTM_NEWNSID or RTM_DELNSID message
// (linux/net_namespace.h): -1 says that there is none.
func nsidOf(body []byte) (int32, bool) {
	if len(body) < rtgenmsgLen {
		return 0, false
	}
	for b := body[rtgenmsgLen:]; len(b) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return 0, false
		}
		if binary.NativeEndian.Uint16(b[2:]) == unix.NETNSA_NSID {
			value := b[unix.SizeofRtAttr:size]
			if len(value) != 4 {
				return 0, false
			}
			return int32(binary.NativeEndian.Uint32(value)), true
		}
		aligned := (size + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
		b = b[min(aligned, len(b)):]
	}
	return 0, false
}
