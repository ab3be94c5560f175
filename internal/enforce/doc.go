// Package enforce owns what containers may send on a parent link: rules of nftables there
// drop frames of MACs and source addresses that no attachment holds.
//
// The root of a container can change MAC and addresses of its macvlan, make another macvlan
// on the same parent, move it to another namespace, and send raw frames. All of that leaves
// by the parent, which the daemon's namespace has, and there by the egress hook of the
// family netdev (Linux 5.16).
//
// # Rules
//
// The table netdev net_porter has a chain with that hook for each parent; a second one,
// inet net_porter, is about the host's own packets. What a container can have sent is not
// looked at there but forwarded into a gate, a pair of links (veth(4)) npout<n> and
// npin<n>, where n is the parent's index. What comes in by the latter is looked at, and
// goes out of the parent with a secret in its priority (skb->priority), by which it is known
// to have been. The gate is there because a raw socket may put off to after the hook the
// writing of a checksum to a place of its choice, such as an address (PACKET_VNET_HDR of
// packet(7)); macvlan puts it off in any case, whatever offloads are on. Between the two
// links the kernel has to do it. It costs containers the hardware's help with checksums
// and large packets: some 5 Gbit/s pass on a machine with two cores, and a microsecond.
//
// Rules are the same for all parents. What is held is in sets, whose keys begin with the
// index of the gate: an attach changes elements alone, in one batch. Whatever no rule lets
// pass is dropped and counted (`nft list table netdev net_porter`). Rules look at bytes of
// the frame at fixed places, counted from its first: what the kernel believes a frame to
// be, as a sender may have told it, plays no part. What is not at a fixed place is not
// looked for but dropped.
//
//   - IPv4: MAC and source are held together. Without an address there are DHCP's own
//     broadcasts and reports of IGMP.
//   - ARP: MAC and IPv4 address of the sender are held together, and the frame's MAC with
//     them. Probes without a sender's address pass (RFC 5227).
//   - IPv6: as IPv4. The link-local address is the one that follows from the MAC, and not
//     any of fe80::/64: with another one a container would be the router. With SLAAC any
//     global address passes whose last 64 bits follow from the MAC: no neighbour has such a
//     one, and the prefix is for routers to say, who change it without a word to the daemon.
//     Privacy addresses (RFC 8981) and opaque ones (RFC 7217), which a container has to ask
//     for, do not pass.
//   - Neighbour advertisements, and solicitations for detecting duplicates, are for held
//     addresses.
//   - No container is a router or a DHCP server to its LAN: router advertisements,
//     redirects, queries of IGMP and MLD, and UDP from ports 67 and 547 are dropped.
//   - Extension headers of IPv6 are dropped but for fragments, IPsec's, and the one before
//     reports of MLD; behind them all of that would pass unseen (RFC 7113).
//   - VLAN tags and everything else that is neither IP nor ARP are dropped.
//
// # The host
//
// The parent, with "enforce" on, is the host's and net-porter's alone. The hook does not
// tell from which macvlan a frame came, and a raw one may have the parent's own MAC. So the
// host's frames pass for one of three reasons that no container can give:
//
//   - They come from a socket that a process has opened in the daemon's own namespace
//     (meta skuid, which the kernel gives for such sockets alone): raw ones too, and those
//     of virtual machines on macvtaps of the host's.
//   - They have passed the host's postrouting hook: there a secret goes into the upper 28
//     bits of the priority, and out again on the parent. That is the
//     kernel's own ICMP and neighbour discovery, what the host routes, tunnels and resets
//     of its firewall.
//   - They are ARP that tells the truth: a MAC that the host has on the parent with an
//     address that the host has, whoever sends it.
//
// MACs and addresses are followed; macvlans that the host has on the parent for itself
// count as its own. What does not pass: macvlans in other namespaces that are not
// net-porter's (e.g. of rootful containers), proxy ARP, VLAN interfaces of the host's on the
// parent (of which the log warns), what a software flowtable forwards past postrouting, and
// forwarded packets to whose priority another program has given a class.
//
// # What it cannot do
//
//   - Two containers on one parent are told from strangers, not from one another: with a
//     raw frame one can say that it is the other, MAC and address both, and never gets the
//     answer. Nothing that nftables can look at tells their macvlans apart on the parent.
//   - In macvlan's mode "bridge" siblings reach each other without passing the parent
//     (cni.Network.ReachesSiblings); every network on the parent should be "private" or
//     "vepa". A container can change its own macvlan's mode, and then reaches those only
//     that are in mode "bridge" themselves.
//   - The secrets can be guessed, by some 2^28 frames for one that passes as the host's, of
//     which the sender does not learn, or 2^32 as anybody's. They are others every minute.
//
// # Restarts, and others' changes
//
// Containers live on without the daemon, and so do the rules. Reconcile changes those that
// are there in one batch: the hooks stay, and every frame meets either the old rules or the
// new ones. Run listens to nftables: what another program changes or flushes is restored
// and logged. Until then, some milliseconds, nothing is enforced. A parent that is made
// anew has rules before an Admit for it returns. One that is renamed keeps them.
//
// # How it is called
//
// All attachments on an enforced parent have to be held, or they cannot send. So the
// configuration must refuse "enforce" on one resource of a parent and not on another's; and
// together with "mac": "random", since the MAC has to be known before the plugins run; and
// where cni.Network.Enforceable says no; and where Supported does.
//
//	start     Reconcile(parents of the resources with "enforce", and those from which
//	          attachments of such hang; all records on them in whatever state), before
//	          requests are served; then Run until the end
//	reload    Reconcile again. What could not be written then is tried again, until
//	          another Reconcile
//	attach    after the record is written, before ADD: Admit with the MAC that ADD gets (of
//	          CNI_ARGS or the request), and the static addresses of the request. An error
//	          fails the attach.
//	lease     when a server has granted an address, as the host has heard itself
//	          (dhcp.Options.Witness), before it is on the interface and
//	          announced: Update. Likewise whenever a lease changes, with all addresses.
//	attached  after ADD, before the answer: Update with all addresses of the result.
//	detach    after DEL, which sends DHCP's release, and the link's removal, whether they
//	          have worked or not: Remove. An error is a removal that is owed.
//
// Each is a batch, of less than a tenth of a millisecond; that the kernel goes by it when
// they return makes them safe against a crash at any moment: what is in the kernel and not
// in the journal, or the reverse, is put right by the next Reconcile. An uninstall calls
// Purge: not a stop, nor an upgrade, under which containers live on.
package enforce
