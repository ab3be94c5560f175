// Package dhcp owns the DHCP leases of attachments: it is the lease service that
// CNI's "dhcp" IPAM plugin calls.
//
// The plugin is only a client. It calls DHCP.Allocate and DHCP.Release by net/rpc
// over HTTP on a unix socket, and whoever can call them can have DHCP spoken
// inside a namespace. So the socket is root's alone, a call is answered only while
// [Service.Expect] announces it, and the namespace is the one that was announced,
// never the path that the call names.
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
//     because an address without one is of no use. Without any mask the prefix is
//     that of the address's class (RFC 791, section 3.2), as other clients do it.
//
// Routes are those of option 121; routers and static routes are then ignored (RFC
// 3442). Without 121 they are the static routes of option 33, and a default route
// through the first router. A route whose gateway cannot be reached from the leased
// prefix is left out. MTU and NTP servers are recorded only.
//
// # Namespaces
//
// Sockets are opened inside the attachment's namespace and used from anywhere, so an
// exchange holds no thread. When it ends they are closed: nothing that is left refers
// to the namespace.
//
// # Hostile frames
//
// Any host of the LAN can send what looks like an answer. A filter in the kernel
// drops what is not a DHCP reply to this interface's MAC; the rest is parsed within
// bounds, with panics recovered and counted. Addresses must be unicast ones, names
// must be host names, lists are cut at a limit.
package dhcp
