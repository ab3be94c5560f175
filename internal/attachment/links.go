package attachment

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/netns"
)

// All of these want the lock of the record's namespace to be held, but for isThere:
// no other attachment's link is in the making there.

// isThere says whether the attachment's link is in its namespace, by whatever name.
func (m *Manager) isThere(r *Record, ns *netns.Namespace) (bool, error) {
	if r.Link != 0 {
		_, there, err := m.namespaces.Link(r.NSID, r.Link)
		return there, err
	}
	links, err := m.namespaces.Links(ns, r.NSID, func(l netns.Link) bool { return l.Name == r.Interface })
	return len(links) > 0, err
}

// linksBefore returns the indexes of the links that must not be taken for the
// attachment's later on.
func (m *Manager) linksBefore(r *Record, ns *netns.Namespace) ([]int, error) {
	links, err := m.namespaces.Links(ns, r.NSID, func(l netns.Link) bool { return l.OnHost || l.Name == r.Interface })
	if err != nil {
		return nil, err
	}
	var before []int
	for _, l := range links {
		before = append(before, l.Index)
	}
	return before, nil
}

// newLink finds the link that ADD has made, and makes sure that it is the one: the
// plugins work by names, which the namespace's user may change between any two of
// their steps. Its index is 0 if the plugins have made none.
func (m *Manager) newLink(r *Record, ns *netns.Namespace, result *Result) (link netns.Link, err error) {
	isOthers := m.others(r)
	links, err := m.namespaces.Links(ns, r.NSID, func(l netns.Link) bool {
		return l.Name == r.Interface || l.OnHost && !isOthers(l.Index)
	})
	if err != nil {
		return netns.Link{}, err
	}
	made := 0 // on the host's links
	for _, l := range links {
		switch {
		case l.Name == r.Interface && isOthers(l.Index):
			return netns.Link{}, fmt.Errorf("%w: %s is another interface of the container", ErrInterfered, l.Name)
		case l.Name == r.Interface:
			link = l
		}
		if l.OnHost && !isOthers(l.Index) {
			made++
			if l.Name != r.Interface {
				return netns.Link{}, fmt.Errorf("%w: there is also %q", ErrInterfered, l.Name)
			}
		}
	}
	if link.Index == 0 && len((&Record{Key: r.Key, Result: result}).MACs()) > 0 {
		return netns.Link{}, fmt.Errorf("%w: there is no %s", ErrInterfered, r.Interface)
	}
	return link, nil
}

// removeLinks removes what is left of the attachment's links in its namespace, and what
// else its user has made of them. Without the namespace it reaches the recorded link, and of
// others what the user lets it see.
func (m *Manager) removeLinks(r *Record, ns *netns.Namespace) error {
	isOthers := m.others(r)
	remove := func(index int) error {
		// A link that cannot be removed is hardware, which the kernel gives back to the
		// host when the namespace dies.
		if err := m.namespaces.DeleteLink(r.NSID, index); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("cannot remove the interface from its namespace: %w", err)
		}
		return nil
	}
	isOwn := func(l netns.Link) bool {
		// Once attached without a link, a later one is not its own.
		return !isOthers(l.Index) && (l.Name == r.Interface || l.OnHost && r.Result == nil)
	}
	if r.Link != 0 {
		parent, err := m.parentIndex(r)
		if err := errors.Join(err, remove(r.Link)); err != nil || parent == 0 {
			return err
		}
		// What root in the namespace has made on top of it hangs on the same parent
		// (ip-link(8), macvlan on a macvlan), and would stay on the LAN.
		isOwn = func(l netns.Link) bool { return l.OnHost && l.Parent == parent && !isOthers(l.Index) }
	}
	var (
		links []netns.Link
		err   error
	)
	if ns != nil {
		links, err = m.namespaces.Links(ns, r.NSID, isOwn)
	} else {
		links, err = m.namespaces.VisibleLinks(r.NSID, isOwn)
	}
	if err != nil {
		return err
	}
	if r.Link != 0 && len(links) > 0 {
		m.logOf(r).Warn("root in a container has made interfaces of its own on the parent link; they are removed with the attachment's", "count", len(links))
	}
	var errs []error
	for _, l := range links {
		errs = append(errs, remove(l.Index))
	}
	return errors.Join(errs...)
}

// parentIndex is the index of the host's link that the attachment's hangs on, 0 if none
// can be told. The user may have removed the link.
func (m *Manager) parentIndex(r *Record) (int, error) {
	if !r.OnHost {
		return 0, nil
	}
	if l, there, err := m.namespaces.Link(r.NSID, r.Link); err != nil || there {
		return l.Parent, err
	}
	if parent, err := net.InterfaceByName(r.Parent); err == nil {
		return parent.Index, nil
	}
	return 0, nil
}

// others returns what tells the links that were there before the attachment or are
// another's. What another has that was never attached is to be removed anyway.
func (m *Manager) others(r *Record) func(index int) bool {
	taken := slices.Clone(r.Before)
	m.mu.Lock()
	for _, other := range m.records {
		if other.NSID == r.NSID && other.Link != 0 && other.Key != r.Key && other.Namespace.BootID == r.Namespace.BootID {
			taken = append(taken, other.Link)
		}
	}
	m.mu.Unlock()
	return func(index int) bool { return slices.Contains(taken, index) }
}
