// Package dhcp6 owns exchanges with DHCPv6 servers on one interface of a container
// (RFC 8415): one address, stateful (IA_NA), and the options that come with it.
//
// It keeps nothing between exchanges: who holds the grant, when to renew it and where
// it is written down is the caller's. What a server learns of a client is [Params], the
// same in every message.
//
// # Where it departs from RFC 8415
//
// Somebody waits for the container to start. So the first message goes out without a
// random delay (section 18.2.1, SOL_MAX_DELAY) as soon as the interface has a
// link-local address, messages are repeated after 1, 2, 4 and 8 s rather than at
// growing intervals of up to an hour, and better ADVERTISEs are waited for only as long
// as [patience] after the first one. SOL_MAX_RT (option 82), whose least value is longer
// than any exchange here, is not asked for. UseMulticast cannot come up: every message
// is multicast.
//
// # Port 546
//
// Replies come to UDP port 546 of the interface's link-local address. The socket is bound
// to that address and to the interface, with SO_REUSEADDR, so that a DHCPv6 client that
// the container runs itself and that sets it too (as they do) is no obstacle: the kernel
// gives a datagram to the socket that is bound more closely, and among equals to the
// youngest. A reply that was the other client's is lost to it and dropped here by its
// transaction; it asks again. Against a socket without SO_REUSEADDR bind(2) fails, and
// the error says why. SO_REUSEADDR gives the container's root nothing: in its own
// namespace it could have the port first in any case.
//
// # Namespaces
//
// [Open] opens all descriptors inside the interface's namespace; they work from
// anywhere, no thread is held, and [Client.Close] closes them all. No sysctl is changed.
//
// # Hostile frames
//
// Any host of the LAN can send what looks like a reply. What is too long, from another
// port, of another transaction or for another client is dropped first. Only the framing
// of options is left to the library, whose decoders of single options would let 1500
// bytes cost megabytes; panics are recovered and counted. Addresses must be unicast ones
// of more than the link, names must be host names, lists are cut at a limit.
package dhcp6
