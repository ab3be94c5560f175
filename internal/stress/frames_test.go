package stress

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// frame is an Ethernet frame of an attacker's.
type frame struct {
	data []byte
	// xid is where its DHCP transaction id is, to guess another each time; 0: it has none.
	xid int
}

// Lengths of headers, and where things are in a DHCP message (RFC 2131, section 2).
const (
	etherLen   = 14
	ipLen      = 20
	headersLen = etherLen + ipLen + 8
	xidAt      = 4
	chaddrAt   = 28
	optionsAt  = 240
)

var (
	attackerMAC = net.HardwareAddr{2, 0x66, 0x66, 0x66, 0x66, 0x66}
	attacker    = netip.MustParseAddr("192.0.2.66")
	// bait is an address that no server here grants.
	bait = netip.MustParseAddr("203.0.113.66")
)

// hostileFrames are frames for one container, of each kind that a host of the LAN may
// think of, but for an ARP claim: an address that another machine has is given up.
func hostileFrames(rnd *rand.Rand, target net.HardwareAddr, server, holds netip.Addr) []frame {
	var frames []frame
	message := func(b []byte) {
		for _, to := range []net.HardwareAddr{target, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
			frames = append(frames, overUDP(to, server, holds, b))
		}
	}
	// Whole ones, of the real server's and of another, of the wrong transaction.
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak} {
		for _, from := range []netip.Addr{server, attacker} {
			for _, yours := range []netip.Addr{bait, holds} {
				message(serverSays(target, kind, from, yours))
			}
		}
	}
	ack := func() []byte { return serverSays(target, dhcpv4.MessageTypeAck, server, bait) }
	for _, options := range hostileOptions(rnd) {
		message(append(ack()[:optionsAt], options...))
	}
	for range 30 {
		cut := ack()
		message(cut[:rnd.IntN(len(cut))])
		flipped := ack()
		for range 1 + rnd.IntN(16) {
			flipped[rnd.IntN(len(flipped))] ^= 1 << rnd.IntN(8)
		}
		message(flipped)
		// Noise behind what the daemon's filter looks at.
		noise := randomBytes(rnd, chaddrAt+6+rnd.IntN(1400))
		noise[0] = 2 // BOOTREPLY
		copy(noise[chaddrAt:], target)
		message(noise)
	}
	for range 10 {
		ip := append(ethernet(target, unix.ETH_P_IP), randomBytes(rnd, rnd.IntN(1400))...)
		arp := append(ethernet(target, unix.ETH_P_ARP), brokenARP(rnd)...)
		frames = append(frames, frame{data: ip}, frame{data: arp})
	}
	return frames
}

// serverSays is a message of a DHCP server.
func serverSays(to net.HardwareAddr, kind dhcpv4.MessageType, server, yours netip.Addr) []byte {
	m, err := dhcpv4.New(dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(to), dhcpv4.WithYourIP(yours.AsSlice()),
		dhcpv4.WithServerIP(server.AsSlice()), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithRouter(attacker.AsSlice()), dhcpv4.WithDNS(attacker.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server.AsSlice())))
	if err != nil {
		panic(err) // there is no randomness to be had
	}
	m.OpCode = dhcpv4.OpcodeBootReply
	return m.ToBytes()
}

// hostileOptions are options fields that parsers stumble over.
func hostileOptions(rnd *rand.Rand) [][]byte {
	ack := []byte{53, 1, 5, 54, 4, 192, 0, 2, 1, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0}
	with := func(options ...byte) []byte { return append(append([]byte(nil), ack...), options...) }
	return [][]byte{
		with(119, 2, 0xc0, 0x00, 255),                         // a name that points to itself
		with(119, 6, 0xc0, 0x02, 0xc0, 0x04, 0xc0, 0x00, 255), // and names that do in turn
		with(119, 3, 63, 'a', 'b', 255),                       // a label longer than the option
		with(121, 5, 33, 1, 2, 3, 4, 255),                     // a prefix of 33 bits
		with(121, 1, 32, 255), with(121, 255),                 // routes and options that are cut
		with(33, 7, 1, 2, 3, 4, 5, 6, 7, 255), with(3, 1, 1, 255), // addresses that are none
		with(52, 1, 3, 255), with(52, 1, 255, 255), // options in the fields for names (RFC 2132, section 9.3)
		with(1, 4, 255, 0, 255, 0, 255), with(1, 4, 0, 0, 0, 0, 255), // masks that are none
		with(51, 4, 0, 0, 0, 0, 255), with(51, 0, 255), with(58, 4, 255, 255, 255, 255, 59, 4, 0, 0, 0, 0, 255),
		with(26, 2, 0, 68, 255), with(26, 9, 255), with(54, 4, 255, 255, 255, 255, 255), with(54, 4, 0, 0, 0, 0, 255),
		with(15, 4, '.', 0, '\n', ' ', 255), with(56, 3, 27, '[', 'J', 255), // for terminals and files
		with(bytesOf(0, 1000)...), with(bytesOf(12, 1001)...), nil, // padding only, one option over and over, nothing
		append(with(), randomBytes(rnd, 500)...),
	}
}

func bytesOf(b byte, count int) []byte {
	all := make([]byte, count)
	for i := range all {
		all[i] = b
	}
	return all
}

func randomBytes(rnd *rand.Rand, count int) []byte {
	b := make([]byte, count)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// brokenARP is anything but ARP for Ethernet and IPv4 (RFC 826) in whole.
func brokenARP(rnd *rand.Rand) []byte {
	whole := []byte{0, 1, 8, 0, 6, 4, 0, 2}
	switch rnd.IntN(4) {
	case 0:
		return append(whole, randomBytes(rnd, rnd.IntN(20))...) // cut
	case 1:
		whole[4], whole[5] = byte(rnd.Uint32())|8, byte(rnd.Uint32())|8 // of long addresses
	case 2:
		whole[0], whole[2] = 0xff, 0xff // of other networks
	default:
		return randomBytes(rnd, rnd.IntN(28))
	}
	return append(whole, randomBytes(rnd, 20)...)
}

func ethernet(to net.HardwareAddr, protocol uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte(nil), to...), attackerMAC...), protocol)
}

// overUDP is a frame with a message from port 67 to port 68.
func overUDP(mac net.HardwareAddr, from, to netip.Addr, message []byte) frame {
	f := frame{data: ethernet(mac, unix.ETH_P_IP)}
	header := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	header = append(append(header, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(header[2:], uint16(ipLen+8+len(message)))
	sum := uint32(0)
	for i := 0; i < ipLen; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
	f.data = append(f.data, header...)
	f.data = append(f.data, 0, 67, 0, 68)
	f.data = binary.BigEndian.AppendUint16(f.data, uint16(8+len(message)))
	f.data = append(append(f.data, 0, 0), message...) // no checksum (RFC 768)
	if len(message) >= xidAt+4 {
		f.xid = headersLen + xidAt
	}
	return f
}
