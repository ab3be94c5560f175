package enforce

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/enforce/nft"
)

// TableName is the name of the two tables that this package owns, in the families netdev
// and inet: `nft list table netdev net_porter`.
const TableName = "net_porter"

var (
	netTable  = nft.Table{Family: unix.NFPROTO_NETDEV, Name: TableName}
	inetTable = nft.Table{Family: unix.NFPROTO_INET, Name: TableName}
)

// Sets. Every key begins with the index of a link: of the parent's gate, or of the parent
// where that is said.
const (
	setMACs     = "macs"      // MACs of attachments
	setIPv4     = "ipv4"      // MAC and IPv4 address of attachments
	setIPv6     = "ipv6"      // MAC and IPv6 address of attachments
	setIDs      = "ipv6_ids"  // MAC and the last 64 bits of addresses that routers choose the rest of
	setHostMACs = "host_macs" // by parent: MACs of the host on it
	setHostARP  = "host_arp"  // MAC and IPv4 address of the host
	setParents  = "parents"   // in inetTable: links by which the host's own packets reach a parent
)

// Sets that never change.
const (
	setExtensions = "ipv6_extensions"
	setICMPv6     = "icmpv6_types"
	setMLD        = "mld_types"
	setIGMP       = "igmp_types"
)

// Chains. One more for each parent has the hook, see chainOf.
const (
	chainHost        = "host"  // of netTable: what a container cannot have sent
	chainPass        = "pass"  // what was looked at goes on to the parent
	chainFrame       = "frame" // what is it
	chainARP         = "arp"
	chainIPv4        = "ipv4"
	chainIPv4Held    = "ipv4_held" // its source is held
	chainUDP         = "udp"
	chainICMP        = "icmp"
	chainIGMP        = "igmp"
	chainIPv6        = "ipv6"
	chainIPv6Held    = "ipv6_held"
	chainIPv6Nobody  = "ipv6_unspecified" // its source is ::
	chainICMPv6      = "icmpv6"
	chainMLD         = "mld"
	chainFragment    = "ipv6_fragment"
	chainPostrouting = "postrouting" // of inetTable
)

// chains are those of netTable that others run.
var chains = []string{
	chainHost, chainPass, chainFrame, chainARP, chainIPv4, chainIPv4Held, chainUDP, chainICMP, chainIGMP,
	chainIPv6, chainIPv6Held, chainIPv6Nobody, chainICMPv6, chainMLD, chainFragment,
}

var sets = map[string][]nft.Field{
	setMACs:       {nft.FieldLink, nft.FieldMAC},
	setIPv4:       {nft.FieldLink, nft.FieldMAC, nft.FieldIPv4},
	setIPv6:       {nft.FieldLink, nft.FieldMAC, nft.FieldIPv6},
	setIDs:        {nft.FieldLink, nft.FieldMAC, nft.FieldIPv6},
	setHostMACs:   {nft.FieldLink, nft.FieldMAC},
	setHostARP:    {nft.FieldLink, nft.FieldMAC, nft.FieldIPv4},
	setExtensions: {nft.FieldProtocol},
	setICMPv6:     {nft.FieldICMPv6},
	setMLD:        {nft.FieldICMPv6},
	setIGMP:       {nft.FieldProtocol},
}

// constants are the elements of the sets that never change.
var constants = map[string]string{
	// What a receiver skips to find something behind it (IANA, IPv6 extension header
	// types), but for fragments, ESP and AH. Nobody needs them on a LAN, and behind them a
	// router advertisement would pass unseen (RFC 7113).
	setExtensions: "\x00\x2b\x3c\x87\x8b\x8c\xfd\xfe",
	// What hosts say (RFC 4443, RFC 4861, RFC 2710, RFC 3810): errors, echo, MLD reports
	// and done, router and neighbour solicitations. Neighbour advertisements are looked at
	// closer, and what only routers say is not among them.
	setICMPv6: "\x01\x02\x03\x04\x80\x81\x83\x84\x85\x87\x8f",
	setMLD:    "\x83\x84\x8f",
	setIGMP:   "\x12\x16\x17\x22", // reports and leave (RFC 2236, RFC 3376)
}

// Where things are in a frame: Ethernet has 14 bytes, IPv6 another 40.
const (
	atMAC      = 6
	atType     = 12
	atNetwork  = 14
	atFragment = atNetwork + 6 // of IPv4: flags and offset
	atIPv4Next = atNetwork + 9
	atIPv4     = atNetwork + 12
	atIPv4To   = atNetwork + 16
	atIPv4Data = atNetwork + 20 // without options
	atIPv6Next = atNetwork + 6
	atIPv6     = atNetwork + 8
	atIPv6Data = atNetwork + 40
	atTarget   = atIPv6Data + 8 // of a neighbour solicitation or advertisement (RFC 4861, section 4.3)
	atARPOp    = atNetwork + 6
	atARPMAC   = atNetwork + 8 // the sender's (RFC 826)
	atARPIPv4  = atNetwork + 14
)

const (
	protoICMP, protoIGMP, protoTCP, protoUDP, protoFragment, protoICMPv6 = 1, 2, 6, 17, 44, 58
	protoHopByHop                                                        = 0
)

type rule = []nft.Expr

// rulesOf are the rules of netTable by chain.
func (p picture) rulesOf(s secrets) map[string][]rule {
	all := map[string][]rule{chainHost: hostRules(s), chainFrame: frameRules(), chainARP: arpRules()}
	addIPv4(all)
	addIPv6(all)
	for index, at := range p.links {
		// What is not the host's takes the way through the gate.
		all[chainOf(index)] = []rule{
			{nft.Jump(chainHost)},
			{nft.Immediate(nft.R(0), native(uint32(at.gate.out))), nft.Forward(nft.R(0))},
		}
		all[gateChainOf(index)] = []rule{{nft.Jump(chainFrame)}, {nft.Count(), nft.Drop()}}
		all[chainPass] = append(all[chainPass], rule{
			nft.Meta(nft.MetaInput, nft.R(0)), nft.Equal(nft.R(0), native(uint32(at.gate.in))),
			nft.Immediate(nft.R(0), native(s.passed)), nft.SetMeta(nft.MetaPriority, nft.R(0)),
			nft.Immediate(nft.R(0), native(uint32(index))), nft.Forward(nft.R(0)),
		})
	}
	return all
}

// secrets mark what need not be looked at on the parent.
type secrets struct {
	host   uint32 // in the upper 28 bits of the priority: it has passed the host's postrouting hook
	passed uint32 // the whole priority: it has passed the gate
}

func hostRules(s secrets) []rule {
	return []rule{
		// Any user. Without the comparison it is the same to the kernel, but a list by nft
		// would have a plain "accept" here, and be loaded again as that.
		{nft.Meta(nft.MetaUser, nft.R(0)), nft.AtLeast(nft.R(0), native(0)), nft.Accept()},
		{nft.Meta(nft.MetaPriority, nft.R(0)), nft.Equal(nft.R(0), native(s.passed)),
			nft.Immediate(nft.R(0), native(0)), nft.SetMeta(nft.MetaPriority, nft.R(0)), nft.Accept()},
		join(unmark(s.host),
			rule{nft.Meta(nft.MetaOutput, nft.R(0)), nft.Frame(atMAC, macLen, nft.R(1)), nft.In(setHostMACs, nft.R(0)), nft.Accept()}),
	}
}

func frameRules() []rule {
	return []rule{
		join(has(atType, 0x08, 0x00), to(chainIPv4)),
		join(has(atType, 0x86, 0xdd), to(chainIPv6)),
		join(has(atType, 0x08, 0x06), to(chainARP)),
	}
}

// smallPriority is what is looked at of the mark: all but the priorities that the kernel
// gives to packets by itself (TC_PRIO_MAX).
const smallPriority = 0xfffffff0

// mark is the rule of inetTable that marks what the host sends.
func mark(secret uint32) rule {
	return rule{
		nft.Meta(nft.MetaOutput, nft.R(0)), nft.In(setParents, nft.R(0)),
		nft.Meta(nft.MetaPriority, nft.R(0)),
		nft.Bitwise(nft.R(0), nft.R(1), native(smallPriority), native(0)), nft.Equal(nft.R(1), native(0)),
		nft.Bitwise(nft.R(0), nft.R(0), native(0xffffffff), native(secret&smallPriority)),
		nft.SetMeta(nft.MetaPriority, nft.R(0)),
	}
}

// unmark goes on with what mark has marked, and gives it back the priority that it had.
func unmark(secret uint32) rule {
	return rule{
		nft.Meta(nft.MetaPriority, nft.R(0)),
		nft.Bitwise(nft.R(0), nft.R(0), native(0xffffffff), native(secret&smallPriority)),
		nft.Bitwise(nft.R(0), nft.R(1), native(smallPriority), native(0)), nft.Equal(nft.R(1), native(0)),
		nft.SetMeta(nft.MetaPriority, nft.R(0)),
	}
}

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// arpRules let in who says the truth in the Ethernet header and in the packet. A probe
// has no sender's IPv4 address (RFC 5227, section 2.1.1).
func arpRules() []rule {
	well := has(atNetwork, 0x00, 0x01, 0x08, 0x00, 0x06, 0x04) // Ethernet and IPv4
	probe := join(well, has(atARPOp, 0x00, 0x01), has(atARPIPv4, 0, 0, 0, 0))
	both := func(start rule, set string, parts ...part) rule {
		return join(start,
			keyOf(atMAC, parts...), rule{nft.In(set, nft.R(0))},
			keyOf(atARPMAC, parts...), rule{nft.In(set, nft.R(0))}, pass)
	}
	return []rule{
		both(well, setIPv4, part{atARPIPv4, 4}),
		both(well, setHostARP, part{atARPIPv4, 4}),
		both(probe, setMACs),
		both(probe, setHostMACs),
	}
}

// part is some bytes of a frame.
type part struct{ offset, length int }

// keyOf loads a key that begins at register 0: link, MAC, and more.
func keyOf(mac int, more ...part) rule {
	r := rule{nft.Meta(nft.MetaInput, nft.R(0)), nft.Frame(mac, macLen, nft.R(1))}
	at := 3
	for _, p := range more {
		r = append(r, nft.Frame(p.offset, p.length, nft.R(at)))
		at += (p.length + 3) / 4
	}
	return r
}

// has holds if the frame has the bytes at the offset.
func has(offset int, bytes ...byte) rule {
	return rule{nft.Frame(offset, len(bytes), nft.R(0)), nft.Equal(nft.R(0), bytes)}
}

// hasNot holds if the frame is long enough and has other bytes there.
func hasNot(offset int, bytes ...byte) rule {
	return rule{nft.Frame(offset, len(bytes), nft.R(0)), nft.NotEqual(nft.R(0), bytes)}
}

// bits holds if the bits of two bytes that mask has are, or are not, all zero.
func bits(offset int, mask uint16, zero bool) rule {
	compare := nft.NotEqual
	if zero {
		compare = nft.Equal
	}
	return rule{
		nft.Frame(offset, 2, nft.R(0)),
		nft.Bitwise(nft.R(0), nft.R(0), binary.BigEndian.AppendUint16(nil, mask), []byte{0, 0}),
		compare(nft.R(0), []byte{0, 0}),
	}
}

// in holds if a set has the byte at the offset.
func in(offset int, set string) rule {
	return rule{nft.Frame(offset, 1, nft.R(0)), nft.In(set, nft.R(0))}
}

func join(parts ...rule) rule {
	var all rule
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
