package enforce

import "github.com/net-porter/net-porter/internal/enforce/nft"

var (
	pass = to(chainPass)
	drop = rule{nft.Drop()}
)

func to(chain string) rule { return rule{nft.Goto(chain)} }

// What the two bytes of flags and offset of IPv4 (RFC 791) say.
const (
	fragmentOffset = 0x1fff
	fragmentAny    = 0x3fff // offset, or more to come
)

// plainHeader is IPv4's first byte without options.
const plainHeader = 0x45

func addIPv4(all map[string][]rule) {
	all[chainIPv4] = []rule{
		join(keyOf(atMAC, part{atIPv4, 4}), rule{nft.In(setIPv4, nft.R(0))}, to(chainIPv4Held)),
		// Who has no address yet asks for one (RFC 2131), and belongs to multicast groups.
		join(has(atIPv4, 0, 0, 0, 0), keyOf(atMAC), rule{nft.In(setMACs, nft.R(0))},
			has(atIPv4Next, protoUDP), has(atNetwork, plainHeader), bits(atFragment, fragmentAny, true),
			has(atIPv4To, 255, 255, 255, 255), has(atIPv4Data, 0, 68, 0, 67), pass),
		join(has(atIPv4, 0, 0, 0, 0), keyOf(atMAC), rule{nft.In(setMACs, nft.R(0))},
			has(atIPv4Next, protoIGMP), to(chainIGMP)),
	}
	all[chainIPv4Held] = []rule{
		join(has(atIPv4Next, protoTCP), pass),
		join(has(atIPv4Next, protoUDP), to(chainUDP)),
		join(has(atIPv4Next, protoICMP), to(chainICMP)),
		join(has(atIPv4Next, protoIGMP), to(chainIGMP)),
		pass,
	}
	// DHCP servers and relays send from port 67. With options before it the port cannot be
	// found, and nobody sends such.
	all[chainUDP] = []rule{
		join(bits(atFragment, fragmentOffset, false), pass),
		join(hasNot(atNetwork, plainHeader), drop),
		join(has(atIPv4Data, 0, 67), drop),
		pass,
	}
	// Redirects and router advertisements (RFC 792, RFC 1256) are a router's.
	all[chainICMP] = []rule{
		join(bits(atFragment, fragmentOffset, false), pass),
		join(hasNot(atNetwork, plainHeader), drop),
		join(has(atIPv4Data, 5), drop),
		join(has(atIPv4Data, 9), drop),
		pass,
	}
	// Reports have the router alert option, or none (RFC 2236, RFC 3376). Queries are a
	// router's.
	all[chainIGMP] = []rule{
		join(bits(atFragment, fragmentAny, true), has(atNetwork, plainHeader), in(atIPv4Data, setIGMP), pass),
		join(bits(atFragment, fragmentAny, true), has(atNetwork, plainHeader+1), in(atIPv4Data+4, setIGMP), pass),
	}
}

func addIPv6(all map[string][]rule) {
	// An address that a router has chosen the first half of is global: of 2000::/3 or fc00::/7.
	chosen := func(at int) []rule {
		held := join(keyOf(atMAC, part{at, 16}), rule{
			nft.Bitwise(nft.R(3), nft.R(3), make([]byte, 8), make([]byte, 8)), nft.In(setIDs, nft.R(0)),
		})
		first := func(mask, value byte) rule {
			return rule{
				nft.Frame(at, 1, nft.R(0)), nft.Bitwise(nft.R(0), nft.R(0), []byte{mask}, []byte{0}), nft.Equal(nft.R(0), []byte{value}),
			}
		}
		return []rule{join(held, first(0xe0, 0x20)), join(held, first(0xfe, 0xfc))}
	}
	// whose are the conditions of which one has to hold for the address at an offset.
	whose := func(at int) []rule {
		exact := join(keyOf(atMAC, part{at, 16}), rule{nft.In(setIPv6, nft.R(0))})
		return append([]rule{exact}, chosen(at)...)
	}
	for _, held := range whose(atIPv6) {
		all[chainIPv6] = append(all[chainIPv6], join(held, to(chainIPv6Held)))
	}
	all[chainIPv6] = append(all[chainIPv6],
		join(has(atIPv6, make([]byte, 16)...), keyOf(atMAC), rule{nft.In(setMACs, nft.R(0))}, to(chainIPv6Nobody)))

	all[chainIPv6Held] = []rule{
		join(has(atIPv6Next, protoTCP), pass),
		join(has(atIPv6Next, protoUDP), hasNot(atIPv6Data, 0x02, 0x23), pass), // 547: a DHCPv6 server
		join(has(atIPv6Next, protoUDP), drop),
		join(has(atIPv6Next, protoICMPv6), to(chainICMPv6)),
		join(has(atIPv6Next, protoHopByHop), to(chainMLD)),
		join(has(atIPv6Next, protoFragment), to(chainFragment)),
		join(in(atIPv6Next, setExtensions), drop),
		pass,
	}
	all[chainICMPv6] = []rule{join(in(atIPv6Data, setICMPv6), pass)}
	for _, held := range whose(atTarget) {
		all[chainICMPv6] = append(all[chainICMPv6], join(has(atIPv6Data, 136), held, pass))
	}
	// Who has no address yet looks for routers, and asks whether another has the address
	// that it is about to have (RFC 4862, section 5.4).
	all[chainIPv6Nobody] = []rule{
		join(has(atIPv6Next, protoICMPv6), has(atIPv6Data, 133), pass),
		join(has(atIPv6Next, protoHopByHop), to(chainMLD)),
	}
	for _, held := range whose(atTarget) {
		all[chainIPv6Nobody] = append(all[chainIPv6Nobody],
			join(has(atIPv6Next, protoICMPv6), has(atIPv6Data, 135), held, pass))
	}
	// Reports have a router alert before them (RFC 3810, section 5), padded as Linux does.
	all[chainMLD] = []rule{
		join(has(atIPv6Data, protoICMPv6, 0, 5, 2, 0, 0, 1, 0), in(atIPv6Data+8, setMLD), pass),
	}
	// Of fragments the first tells what it is, and receivers take no two that overlap (RFC
	// 5722). Neighbour discovery is not sent in fragments (RFC 6980).
	data := atIPv6Data + 8
	all[chainFragment] = []rule{
		join(bits(atIPv6Data+2, 0xfff8, false), pass),
		join(has(atIPv6Data, protoICMPv6), has(data, 128), pass),
		join(has(atIPv6Data, protoICMPv6), has(data, 129), pass),
		join(has(atIPv6Data, protoICMPv6), drop),
		join(has(atIPv6Data, protoUDP), hasNot(data, 0x02, 0x23), pass),
		join(has(atIPv6Data, protoUDP), drop),
		join(has(atIPv6Data, protoFragment), drop),
		join(in(atIPv6Data, setExtensions), drop),
		pass,
	}
}
