package dhcp4

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// udpPayload returns the payload of an IPv4 packet's UDP datagram to port 68. The UDP
// checksum is not looked at: between two ends of a veth it is not computed.
func udpPayload(packet []byte) ([]byte, bool) {
	if len(packet) < ipHeaderLen || packet[0]>>4 != 4 {
		return nil, false
	}
	header := int(packet[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(packet[2:]))
	if header < ipHeaderLen || total > len(packet) || total < header+udpHeaderLen {
		return nil, false
	}
	udp := packet[header:total] // frames are padded at the end
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if packet[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(udp[2:]) != clientPort ||
		length < udpHeaderLen || length > len(udp) {
		return nil, false
	}
	return udp[udpHeaderLen:length], true
}

// udpPacket puts IPv4 (RFC 791) and UDP (RFC 768) headers before a message from the
// client's port to the server's.
func udpPacket(from, to netip.Addr, message []byte) []byte {
	const headers = ipHeaderLen + udpHeaderLen
	b := make([]byte, headers, headers+len(message))
	b[0] = 4<<4 | ipHeaderLen/4
	binary.BigEndian.PutUint16(b[2:], uint16(headers+len(message)))
	b[8], b[9] = 64, unix.IPPROTO_UDP
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:ipHeaderLen], 0))

	udp := b[ipHeaderLen:]
	binary.BigEndian.PutUint16(udp[0:], clientPort)
	binary.BigEndian.PutUint16(udp[2:], serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpHeaderLen+len(message)))
	b = append(b, message...)
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(udpHeaderLen+len(message)) + uint32(sum(b[12:ipHeaderLen], 0))
	check := ^sum(b[ipHeaderLen:], pseudo)
	if check == 0 {
		check = 0xffff // zero would mean that there is none
	}
	binary.BigEndian.PutUint16(b[ipHeaderLen+6:], check)
	return b
}

// sum is the one's complement sum of RFC 1071.
func sum(b []byte, initial uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		initial += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		initial += uint32(b[0]) << 8
	}
	for initial > 0xffff {
		initial = initial>>16 + initial&0xffff
	}
	return uint16(initial)
}
