// Package dhcp4 owns exchanges with DHCPv4 servers (RFC 2131) on one interface of a
// container, and the ARP probe of what they grant (RFC 5227).
//
// It keeps nothing from one exchange to the next: leases, their timers and their
// records are package dhcp's.
//
// # Namespaces
//
// Sockets are opened inside the interface's namespace and used from anywhere, so an
// exchange holds no thread. When it ends they are closed: nothing that is left refers
// to the namespace.
//
// # What is applied
//
// What was not asked for (option 55) is ignored when a server sends it, but for a subnet
// mask: an address without one is of no use. Without any mask the prefix is that of the
// address's class (RFC 791, section 3.2), as other clients do it.
//
// Routes are those of option 121; routers and static routes are then ignored (RFC
// 3442). Without 121 they are the static routes of option 33, and a default route
// through the first router. A route whose gateway cannot be reached from the granted
// prefix is left out.
//
// # Probes
//
// RFC 5227 has a host wait for 4 to 7 s before it uses an address, while somebody waits
// for a container to start. Machines answer ARP within a millisecond or do not, so the
// first probe is sent with the REQUEST, when the address is known and a wait is due
// anyway, and its answers are taken for 5 ms and until shortly after the ACK. The others follow when
// the address is in use (Client.Probe), as late as the RFC has them.
//
// # Hostile frames
//
// Any host of the LAN can send what looks like an answer. A filter in the kernel
// drops what is not a DHCP reply to this interface's MAC; the rest is parsed within
// bounds, with panics recovered and counted. Addresses must be unicast ones, names
// must be host names, lists are cut at a limit.
package dhcp4
