package server

import (
	"fmt"

	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/hostlink"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/policy"
)

// mend is what an owner does about an interface that does not work any more.
const mend = "restart the container, or run `podman network reload`"

// inspection looks for what is wrong with attachments, for one who may see them. It looks
// at each of the host's links once, and asks the kernel once for each attachment.
type inspection struct {
	server *Server
	id     peer.Identity
	view   hostlink.View
}

// faults says what is wrong with an attachment although it is attached, in words for its
// owner or for root.
func (i *inspection) faults(v attachment.View) []string {
	if v.State != attachment.Attached {
		return nil
	}
	faults, err := i.linkFaults(v)
	if err != nil {
		i.server.log.Warn("cannot look whether an attachment is well", "attachment", v.Key.String(), "error", err)
	}
	for _, lease := range v.Leases {
		if lease.Expired {
			faults = append(faults, fmt.Sprintf(
				"the DHCP lease of %s has expired, and no server has granted another address yet: the administrator has to look after the DHCP server", lease.Address.Addr()))
		}
	}
	return faults
}

// linkFaults says what is wrong with the interface or with its parent link.
func (i *inspection) linkFaults(v attachment.View) ([]string, error) {
	sight, err := i.server.attachments.Look(v.Record)
	if err != nil {
		return nil, err
	}
	needs, err := i.server.needed.get(v.Resource, v.Config)
	if err != nil {
		return nil, err
	}
	switch {
	case sight.Dead:
		return []string{"the container's network namespace is gone, and the attachment is about to be released"}, nil
	case sight.Missing:
		return i.missing(v, needs)
	case sight.Loose:
		return []string{fmt.Sprintf(
			"the interface %s hangs on no link of this host any more, as it was replaced in the container or its parent link was moved away: %s", v.Interface, mend)}, nil
	}
	var faults []string
	if sight.Name != "" && sight.Name != v.Interface {
		faults = append(faults, fmt.Sprintf("the interface %s was renamed to %q in the container: rename it back, or restart the container", v.Interface, sight.Name))
	}
	if sight.Parent == 0 || needs.moves || len(needs.parents) == 0 {
		return faults, nil
	}
	fault, err := i.parentFault(v, needs, sight.Parent)
	if fault != "" {
		faults = append(faults, fault)
	}
	return faults, err
}

// missing says why an interface may be gone.
func (i *inspection) missing(v attachment.View, needs needs) ([]string, error) {
	for _, parent := range needs.parents {
		if needs.moves {
			break // hardware, which is in the container for as long as that has it
		}
		_, trouble, err := needs.look(&i.view, parent)
		if err != nil {
			return nil, err
		}
		if trouble == absent {
			return []string{fmt.Sprintf("the interface %s is gone, and so is %s: once the administrator has brought that back, %s",
				v.Interface, parentWords(i.told(v, parent)), mend)}, nil
		}
	}
	return []string{fmt.Sprintf(
		"the interface %s is gone: it was removed or replaced in the container, or its parent link was deleted: %s", v.Interface, mend)}, nil
}

// parentFault says what is wrong with the link that an interface hangs on, which by now
// may have another name than its configuration says.
func (i *inspection) parentFault(v attachment.View, needs needs, index int) (string, error) {
	for _, parent := range needs.parents {
		link, there, err := i.view.Named(parent)
		if err != nil {
			return "", err
		}
		if there && link.Index == index {
			trouble, name := needs.of(link, true), i.told(v, parent)
			if trouble == "" {
				return "", nil
			}
			return "it needs " + parentWords(name) + ", " + trouble.remedy(name), nil
		}
	}
	parent := needs.parents[0]
	_, taken, err := i.view.Named(parent)
	if err != nil {
		return "", err
	}
	fault := parentWords(i.told(v, parent)) + " was renamed"
	if link, there, err := i.view.Indexed(index); err == nil && there && i.id.IsRoot() {
		fault += " to " + link.Name
	}
	if taken {
		return fault + ", and another link has its name: this attachment goes on using the old one; to move it over, " + mend, nil
	}
	return fault + ": this attachment goes on using it, and no other can be made before the administrator has renamed it back or corrected the resource's network configuration", nil
}

// told is a parent link's name where it may be told, "" where not: to those who may use
// the resource, as when it is why they cannot.
func (i *inspection) told(v attachment.View, parent string) string {
	resource := i.server.catalog.Load().resources[v.Resource]
	if i.id.IsRoot() || policy.Use(subject(i.id), resource).Allowed {
		return parent
	}
	return ""
}

func parentWords(name string) string {
	if name == "" {
		return "its parent link"
	}
	return "the parent link " + name
}
