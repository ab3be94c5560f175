package server

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/hostlink"
)

// needs are the host's links that a network cannot do without, and for what.
type needs struct {
	parents []string
	// moves: host-device moves the link itself, and brings it up in the container.
	moves bool
	// carrier: a DHCP server has to be heard. Static addresses may well be given before
	// the cable is in.
	carrier bool
}

func needsOf(network *cni.Network) needs {
	return needs{
		parents: network.Masters(), moves: slices.Contains(network.Types(), "host-device"), carrier: network.UsesDHCP(),
	}
}

// trouble is what keeps a parent link from working; "" for nothing.
type trouble string

const (
	absent   trouble = "gone"
	downed   trouble = "down"
	unheard  trouble = "without carrier"
	noAnswer trouble = "not to be looked at"
)

// of says what is wrong with a link as a parent.
func (n needs) of(link hostlink.Link, there bool) trouble {
	switch {
	case !there:
		return absent
	case n.moves:
		return ""
	case !link.Up:
		return downed
	case n.carrier && !link.Carrier:
		return unheard
	}
	return ""
}

// look looks at a parent link by its name.
func (n needs) look(view *hostlink.View, parent string) (hostlink.Link, trouble, error) {
	link, there, err := view.Named(parent)
	if err != nil {
		return link, noAnswer, err
	}
	return link, n.of(link, there), nil
}

// remedy says in words that go on from the link's name what is wrong with it, and what to
// do about it. The name is "" for those who are not told.
func (t trouble) remedy(parent string) string {
	switch t {
	case absent:
		return "which is not there on this host: the administrator has to bring it up or correct the resource's network configuration"
	case downed:
		command := ""
		if parent != "" {
			command = " (ip link set " + parent + " up)"
		}
		return "which is down: the administrator has to bring it up" + command
	case unheard:
		return "which has no carrier, so that no DHCP server can answer: the administrator has to look at its cable, switch port or, of a bridge, its ports"
	}
	return "which the daemon cannot look at: the administrator finds the reason in its log"
}

// ParentFault says what keeps a network from using its parent link: in words that go
// on from the link's name, and as an error for the log. A parent that is there and
// cannot work would keep the caller waiting for the plugins to find out.
func ParentFault(network *cni.Network, parent string) (words string, err error) {
	_, trouble, err := needsOf(network).look(&hostlink.View{}, parent)
	if err == nil && trouble != "" {
		err = errors.New("link " + parent + " is " + string(trouble))
	}
	if err != nil {
		return trouble.remedy(parent), err
	}
	return "", nil
}

// recordedNeeds has the needs of recorded configurations, which are few and the same for
// many attachments, so that each is parsed once.
type recordedNeeds struct {
	mu sync.Mutex
	of map[string]needs // by configuration
}

// maxRecordedNeeds is far above how many configurations administrators write between
// two starts of the daemon.
const maxRecordedNeeds = 1024

func (r *recordedNeeds) get(resource string, config []byte) (needs, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.of[string(config)]; ok {
		return n, nil
	}
	network, err := cni.Parse(resource, config)
	if err != nil {
		return needs{}, fmt.Errorf("cannot read the recorded configuration: %w", err)
	}
	if r.of == nil || len(r.of) >= maxRecordedNeeds {
		r.of = map[string]needs{}
	}
	n := needsOf(network)
	r.of[string(config)] = n
	return n, nil
}
