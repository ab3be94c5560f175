package attachment

import (
	"slices"

	"github.com/net-porter/net-porter/internal/netns"
)

// Sight is what the kernel says of an attachment's interface. Of one that is not attached,
// or that the plugins made no interface for, it is zero.
type Sight struct {
	// Dead: the network namespace is gone, and the attachment about to be released.
	Dead bool
	// Missing: the interface is not in its namespace, or is another one than was made.
	Missing bool
	// Loose: it should hang on a link of the host's and does not.
	Loose bool
	// Parent is the index of the host's link that it hangs on; 0 if it hangs on none.
	Parent int
	// Name is what it is called in its namespace.
	Name string
}

// Look looks at an attachment's interface with the kernel's eyes, which its container
// cannot deceive. It takes no lock, runs no plugin, and asks the kernel once.
func (m *Manager) Look(r *Record) (Sight, error) {
	if r.State != Attached || r.Link == 0 {
		return Sight{}, nil
	}
	if r.Namespace.BootID != m.boot {
		return Sight{Dead: true}, nil
	}
	l, there, err := m.namespaces.Link(r.NSID, r.Link)
	switch {
	case err != nil:
		return Sight{}, err
	case !there && netns.Lasting(r.NSID):
		lives, err := m.lives(r)
		return Sight{Dead: !lives, Missing: true}, err
	case !there:
		return Sight{Missing: true}, nil
	}
	s := Sight{Name: l.Name, Parent: l.Parent, Loose: r.OnHost && !l.OnHost}
	// Hardware keeps its MAC, and an id that is not lasting may be another namespace's.
	if !r.OnHost || !netns.Lasting(r.NSID) {
		s.Missing = !slices.Contains(r.MACs(), l.MAC.String())
	}
	return s, nil
}
