package netns

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// DeleteLink removes a link from the namespace that has an id, without a descriptor
// of it: IFLA_TARGET_NETNSID of RTM_DELLINK, Linux 4.16. That there is no such
// namespace, or no such link in it, is no error. Links that cannot be removed, e.g.
// the loopback and hardware, are (EOPNOTSUPP). The name is what the namespace's
// user has made of it: one that was renamed is not found, and an alternative name
// (ip-link(8), altname) counts.
//
// It never touches the daemon's own namespace. An id that is not Lasting may have
// become another namespace's.
func (r *Registry) DeleteLink(id int32, name string) error {
	if err := r.deleteLink(id, name); err != nil {
		return fmt.Errorf("cannot remove link %q from the network namespace with id %d: %w", name, id, err)
	}
	return nil
}

func (r *Registry) deleteLink(id int32, name string) error {
	if id < 0 { // "no id" to the kernel, in places its caller's own namespace
		return errors.New("it is not an id")
	}
	if !validLinkName(name) {
		return errors.New("it is not the name of a link")
	}
	// Whoever administers the host may have given its namespace an id, too.
	own, err := r.lookup(unix.NETNSA_FD, int32(r.own.Fd()))
	if err != nil {
		return fmt.Errorf("cannot tell it from the server's own: %w", err)
	}
	if id == own {
		return errors.New("it is the server's own")
	}
	req := r.newRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(id))))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil
	case errors.Is(err, unix.EINVAL):
		// So it answers for an id that is not given, among other things.
		if _, lookupErr := r.lookup(unix.NETNSA_NSID, id); errors.Is(lookupErr, unix.ENOENT) {
			return nil
		}
	}
	return err
}

// validLinkName is dev_valid_name of the kernel (net/core/dev.c).
func validLinkName(name string) bool {
	if name == "" || len(name) >= unix.IFNAMSIZ || name == "." || name == ".." {
		return false
	}
	for _, c := range []byte(name) {
		switch c {
		case '/', ':', ' ', '\t', '\n', '\v', '\f', '\r', 0xa0, 0:
			return false
		}
	}
	return true
}
