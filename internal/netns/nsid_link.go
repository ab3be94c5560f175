package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/faultpoint"
)

// skipStats is RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h: the counters are most of
// what the kernel has to say of a link.
const skipStats = 1 << 3

// Link is a network interface in a namespace, as the kernel tells of it. All but
// OnHost and the index is what the namespace's user has made of it.
type Link struct {
	// Index identifies it within its namespace for as long as it is there, whatever
	// it is renamed to. In another namespace it may be another.
	Index int
	Name  string
	MAC   net.HardwareAddr // nil if it has none
	// OnHost: it hangs on a link of the daemon's own namespace (IFLA_LINK and
	// IFLA_LINK_NETNSID, rtnetlink(7)), as a macvlan does on its parent and a veth
	// on its peer. No user can make such a link, or have one look like it.
	OnHost bool
	// Parent is the index of that link in the daemon's own namespace, 0 without OnHost.
	Parent int
}

// maxLinks bounds what a namespace's user makes Links look at.
const maxLinks = 4096

var errTooManyLinks = fmt.Errorf("there are more than %d", maxLinks)

// Links returns the links of a namespace for which keep is true. None that is there
// from the beginning to the end is left out, whatever the namespace's user does: then
// it fails, e.g. if links come and go all the while, or with more than 4096. id is
// what Assign has returned for the namespace. keep must not call the Registry.
//
// Where a link hangs on one of a third namespace, the kernel may give that one an id
// of its own choice on the way: see Lasting.
func (r *Registry) Links(ns *Namespace, id int32, keep func(Link) bool) ([]Link, error) {
	indexes, err := indexesIn(ns)
	if err != nil {
		return nil, fmt.Errorf("cannot list the links of network namespace %s: %w", ns.ID(), err)
	}
	var links []Link
	for _, index := range indexes {
		switch l, ok, err := r.Link(id, index); {
		case err != nil:
			return nil, err
		case ok && keep(l):
			links = append(links, l)
		}
	}
	return links, nil
}

// VisibleLinks is Links without the namespace, by its id alone: IFLA_TARGET_NETNSID of
// RTM_GETLINK, Linux 4.17. That there is no such namespace is no error. The namespace's
// user can hide links from it: where one has so many names (ip-link(8), altname) that
// its description does not fit, the kernel ends the list before it, without a word.
func (r *Registry) VisibleLinks(id int32, keep func(Link) bool) ([]Link, error) {
	if err := r.checkForeign(id); err != nil {
		return nil, fmt.Errorf("cannot list the links of the network namespace with id %d: %w", id, err)
	}
	var links []Link
	seen := 0
	err := list(func() *nl.NetlinkRequest {
		links, seen = nil, 0
		return linkRequest(r.lists, id, 0, unix.NLM_F_DUMP)
	}, unix.RTM_NEWLINK, func(body []byte) error {
		if seen++; seen > maxLinks {
			return errTooManyLinks
		}
		l, err := r.parseLink(body)
		if err == nil && keep(l) {
			links = append(links, l)
		}
		return err
	})
	if err != nil && !r.isGone(id, err) {
		return nil, fmt.Errorf("cannot list the links of the network namespace with id %d: %w", id, err)
	}
	return links, nil
}

// Link returns one link, and whether there is such a one, and such a namespace.
func (r *Registry) Link(id int32, index int) (Link, bool, error) {
	err := r.checkForeign(id)
	if err == nil {
		err = checkIndex(index)
	}
	var replies [][]byte
	if err == nil {
		replies, err = linkRequest(r.links, id, index, 0).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	}
	if errors.Is(err, unix.ENODEV) || r.isGone(id, err) {
		return Link{}, false, nil
	}
	var l Link
	if err == nil {
		if len(replies) != 1 {
			err = errors.New("the kernel's answer has none")
		} else {
			l, err = r.parseLink(replies[0])
		}
	}
	if err != nil {
		return Link{}, false, fmt.Errorf("cannot examine link %d of the network namespace with id %d: %w", index, id, err)
	}
	return l, true, nil
}

// linkRequest asks for the link with an index, or for all.
func linkRequest(socket *nl.SocketHandle, id int32, index, flags int) *nl.NetlinkRequest {
	req := newRequest(socket, unix.RTM_GETLINK, flags)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	req.AddData(header)
	req.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(id))))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	return req
}

// DeleteLink removes a link from the namespace that has an id, without a descriptor
// of it: IFLA_TARGET_NETNSID of RTM_DELLINK, Linux 4.16. That there is no such
// namespace, or no such link in it, is no error. Links that cannot be removed, e.g.
// the loopback and hardware, are (EOPNOTSUPP).
//
// It never touches the daemon's own namespace. An id that is not Lasting may have
// become another namespace's.
func (r *Registry) DeleteLink(id int32, index int) error {
	if err := r.deleteLink(id, index); err != nil {
		return fmt.Errorf("cannot remove link %d from the network namespace with id %d: %w", index, id, err)
	}
	return nil
}

func (r *Registry) deleteLink(id int32, index int) error {
	if err := r.checkForeign(id); err != nil {
		return err
	}
	if err := checkIndex(index); err != nil {
		return err
	}
	faultpoint.Hit("before link removal")
	req := newRequest(r.deletions, unix.RTM_DELLINK, unix.NLM_F_ACK)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	req.AddData(header)
	req.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(id))))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	faultpoint.Hit("after link removal")
	if errors.Is(err, unix.ENODEV) || r.isGone(id, err) {
		return nil
	}
	return err
}

// checkForeign refuses what does not name a namespace other than the daemon's own.
func (r *Registry) checkForeign(id int32) error {
	switch {
	case id < 0: // the kernel's word for none, and there none can mean its caller's own
		return errors.New("it is not an id")
	case id == r.ownID:
		return errors.New("it is the server's own")
	}
	return nil
}

func checkIndex(index int) error {
	if index <= 0 || int64(index) > 1<<31-1 { // 0 asks the kernel to go by other attributes
		return errors.New("it is not the index of a link")
	}
	return nil
}

// isGone says whether a request failed because the id is nobody's: the kernel then
// answers EINVAL, among other things.
func (r *Registry) isGone(id int32, err error) bool {
	if !errors.Is(err, unix.EINVAL) {
		return false
	}
	_, lookupErr := r.lookup(unix.NETNSA_NSID, id)
	return errors.Is(lookupErr, unix.ENOENT)
}

// parseLink reads the body of an RTM_NEWLINK message: struct ifinfomsg and attributes.
func (r *Registry) parseLink(body []byte) (Link, error) {
	if len(body) < unix.SizeofIfInfomsg {
		return Link{}, errCut
	}
	attributes, err := nl.ParseRouteAttr(body[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, fmt.Errorf("the kernel's answer is not understood: %w", err)
	}
	l := Link{Index: int(nl.DeserializeIfInfomsg(body).Index)}
	hangs := false
	for _, a := range attributes {
		switch {
		case a.Attr.Type == unix.IFLA_IFNAME:
			l.Name = strings.TrimRight(string(a.Value), "\x00")
		case a.Attr.Type == unix.IFLA_ADDRESS:
			l.MAC = append(net.HardwareAddr(nil), a.Value...)
		case a.Attr.Type == unix.IFLA_LINK && len(a.Value) == 4:
			hangs, l.Parent = true, int(int32(binary.NativeEndian.Uint32(a.Value)))
		case a.Attr.Type == unix.IFLA_LINK_NETNSID && len(a.Value) == 4:
			l.OnHost = int32(binary.NativeEndian.Uint32(a.Value)) == r.ownID
		}
	}
	if l.OnHost = l.OnHost && hangs; !l.OnHost {
		l.Parent = 0
	}
	return l, nil
}
