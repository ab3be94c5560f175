// Package dhcp owns the DHCP leases of attachments: it acquires them for CNI's "dhcp"
// IPAM plugin, keeps them for as long as the attachment is there, and gives them back.
//
// # The plugin's service
//
// The plugin is only a client. It calls DHCP.Allocate and DHCP.Release by net/rpc
// over HTTP on a unix socket, and whoever can call them can have DHCP spoken
// inside a namespace. So the socket is root's alone, a call is answered only while
// [Service.Expect] announces it, and the namespace is the one that was announced,
// never the path that the call names.
//
// # The life of a lease
//
// It is that of RFC 2131, figure 5 (for DHCPv6, RFC 8415, section 18.2, it is the same
// but for words). What follows from time alone is not recorded but told by the clock:
//
//	bound      until T1
//	renewing   until T2        the server that granted it is asked to prolong it
//	rebinding  until the end   any server is
//	selecting                  the address is taken from the interface, the interface
//	                           stays up, and servers are asked for an address with
//	                           growing pauses until one grants it
//
// A server that refuses (NAK), or another machine that has the address, lead from any of
// them to selecting at once. A lease that ended while no daemon was there is confirmed
// (INIT-REBOOT) before its address is taken away. What a server changes of an address, a
// mask, routes or the MTU is changed on the interface; name servers are not, since podman
// has written them into files of the container.
//
// Every change is in the lease's file before it is on the interface, together with what
// it replaces, so that a daemon that starts again finishes it.
//
// # Nothing is held
//
// Between two exchanges there is no descriptor, socket, thread or goroutine of a lease:
// it is a file, and an entry in a map with the time at which it is due. For an exchange
// its namespace is found again ([Places]), and proved to be the very same one; the
// sockets that are opened inside are used from anywhere, so that an exchange holds no
// thread, and closed at its end.
//
// # What the host hears itself
//
// The namespace of an exchange is its user's, who can keep servers' frames from it and send
// others in. That a container is held to its addresses (package enforce) would be worth
// nothing if it could be granted any. There, what an exchange has come to counts only once
// the server has said the same to the host, which asks it on the parent link, for the MAC
// that the container is held to ([Options].Witness); and what is recorded is what the host
// was told, times and all. This is so for renewals, too, since who makes them up would keep
// an address that the server has given to somebody else meanwhile.
//
// It is asked and not only listened to, since what one macvlan sends to another in mode
// "bridge" passes the parent's network taps as if it came from the LAN. So answers of
// DHCPv4 are taken as broadcasts, which do not go that way, and those of DHCPv6 at the
// parent's own address.
//
// # What is asked for, and what is applied
//
// Without "skipDefault": true in any entry of the IPAM configuration's "request",
// the client asks for subnet mask (1), classless static routes (121), routers (3),
// static routes (33), interface MTU (26), NTP servers (42) and whatever "request"
// names. With it, the client asks for what "request" names and nothing else, and
// what a server sends without having been asked is ignored: a request for
// subnet-mask alone gives an address and no route, though the server sends a router.
//
// Two things stand outside that rule:
//
//   - DNS servers (6), domain name (15) and domain search list (119) are always
//     asked for and recorded. A container's resolv.conf is written from them, and
//     the host's resolver cannot be reached from the LAN side; the interface is not
//     touched by them.
//   - A subnet mask that the server sends is used even if it was not asked for,
//     because an address without one is of no use.
//
// With "ipv6": true in the IPAM configuration an IPv6 address is acquired by DHCPv6
// beside the IPv4 one, with "ipv4": false in its place.
package dhcp
