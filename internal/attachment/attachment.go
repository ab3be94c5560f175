// Package attachment owns the life of an attachment: one interface of one
// container of one user on one resource.
//
// Every attachment has a record in the journal, written before anything is made
// and removed after everything is gone, so that at any moment the journal names
// all that this daemon made. The states and what leads from one to the next:
//
//	                when                          comes to        and meanwhile
//	(none)          an attach begins              pending         CNI ADD runs
//	pending         ADD has succeeded             attached
//	pending         it failed, timed out, or the  detaching       CNI DEL runs
//	                caller hung up
//	attached        detach, or attach of the      detaching
//	                next container of the key, or
//	                the namespace's death
//	detaching       all is removed                (none)
//	detaching       something is left             failed-detach   the removal is owed
//	failed-detach   its time has come, or         detaching       CNI DEL runs again
//	                somebody asks, or the
//	                namespace's death, or a start
//
// (state.go). The journal is written before anything is done that it stands for, with
// two exceptions: what is attached is there before it says so, and what is gone is gone
// before it no longer says so. So a crash between any two steps leaves a state from which
// all that may be left is removed, or, once attached is written, nothing is.
//
// A daemon that starts again finishes what it finds: pending, detaching and
// failed-detach are undone as far as that can be done without the namespace, attached
// stays if its namespace still lives. A removal that has failed is tried again with a
// pause that grows from two seconds to five minutes.
//
// The namespace is its user's, who may rename, move and remove the links in it at
// any moment, also while a plugin makes one. So CNI DEL, which goes by the name, is
// not all of a removal: the link goes by its recorded index. Where none was recorded,
// because ADD failed or its outcome was not what ADD says, every link goes that hangs
// on one of the host's, was not there before and is no other attachment's. Work on
// one namespace is done one after the other, so that it is known whose a link is.
// Without a descriptor of the namespace its user can hide links from the kernel's
// list. So an attach that was cut short by the daemon's own end keeps its record, and
// its address, until its namespace dies or is shown again.
// What this cannot reach is a link that the user has moved to another namespace: it
// is gone from where it was, as one that they have removed, and lives until that
// namespace dies. To hold such a link, something on the parent has to look at what
// passes.
package attachment

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/netns"
)

// Errors that callers tell apart with errors.Is. Errors of packages cni and dhcp
// come wrapped beside them.
var (
	// ErrAlreadyAttached says that the interface is there already, in this very namespace.
	ErrAlreadyAttached = errors.New("already attached")
	// ErrAbandoned says that the caller was gone before the attachment was made; it is undone.
	ErrAbandoned = errors.New("the caller hung up")
	// ErrInterfered says that what is in the namespace after ADD is not what ADD has made:
	// its user renamed, moved or removed links meanwhile. The attachment is undone.
	ErrInterfered = errors.New("the interface was renamed, moved or replaced in the container while it was being made; " +
		"see what changes interfaces in the container, and try again")
	// ErrForeignID says that the namespace has an id in the daemon's that is not the
	// daemon's choice (netns.Lasting): its death could not be told for certain.
	ErrForeignID = errors.New("the network namespace has been linked with another one before its first interface was attached; " +
		"start the container anew, and make such links later")
	// ErrJournal says that the journal could not be written; nothing is left attached.
	ErrJournal = errors.New("cannot write the journal")
)

// Key names an attachment. No two users can mean the same one, whatever ids they choose.
type Key struct {
	UID         uint32 `json:"uid"`
	ContainerID string `json:"container_id"`
	Interface   string `json:"interface"`
}

// String is "<uid>.<container id>@<interface>", the attachment's id in the API and
// its record's file name. '@' is in neither part's grammar.
func (k Key) String() string { return k.CNIContainerID() + "@" + k.Interface }

// CNIContainerID is what CNI plugins get for a container id: "<uid>.<container id>".
func (k Key) CNIContainerID() string {
	return strconv.FormatUint(uint64(k.UID), 10) + "." + k.ContainerID
}

// ParseKey reads what String writes; ok is false for anything else.
func ParseKey(text string) (k Key, ok bool) {
	id, ifname, _ := strings.Cut(text, "@")
	k = keyOf(id, ifname)
	return k, k.String() == text && k.ContainerID != "" && k.Interface != ""
}

// Result is what an attach gave: CNI's result, and the DHCP leases in it as they were
// then.
type Result struct {
	CNI    *types100.Result `json:"cni"`
	Leases []dhcp.Lease     `json:"leases,omitempty"`
}

// Record is an attachment as the journal has it. Detach works by what stands here,
// not by what a request or today's files say.
type Record struct {
	Version int `json:"version"` // of this format; 1
	Key
	Container string    `json:"container_name,omitempty"` // podman's name for it
	User      string    `json:"user,omitempty"`           // the user's name when it was made
	Resource  string    `json:"resource"`
	State     State     `json:"state"`
	Created   time.Time `json:"created"`
	// Failure is the last removal's, in state failed-detach and while it is tried again.
	Failure *Failure `json:"failure,omitempty"`
	// KnownAs is the container's name or id, by which its LAN knows it again.
	KnownAs string `json:"known_as,omitempty"`

	Namespace netns.ID        `json:"namespace"`
	NSID      int32           `json:"nsid"`   // the namespace's id in the daemon's, see netns.Registry
	Config    json.RawMessage `json:"config"` // the network configuration list that ADD ran
	Args      [][2]string     `json:"args,omitempty"`
	// GIDs are the groups by which its user was allowed to have it, and DetachOnRevoke that
	// it is not to outlive that.
	GIDs           []uint32 `json:"gids,omitempty"`
	DetachOnRevoke bool     `json:"detach_on_revoke,omitempty"`
	// Parent is the name of the host's link that the interface hangs on, as the
	// configuration has it; "" if it names none, or several.
	Parent string `json:"parent,omitempty"`
	// Enforced: its resource held what it sends to what it holds when it was made.
	Enforced bool `json:"enforced,omitempty"`
	// Static are the IP addresses of the user's choice.
	Static []netip.Addr `json:"static_ips,omitempty"`
	// StaticMAC is the MAC of the user's choice that was granted.
	StaticMAC string `json:"static_mac,omitempty"`
	// Ports is the portMappings capability that ADD got.
	Ports  json.RawMessage `json:"port_mappings,omitempty"`
	Result *Result         `json:"result,omitempty"` // once attached

	// Learned are the addresses in Result that the kernel has made of router
	// advertisements.
	Learned []netip.Prefix `json:"learned,omitempty"`

	// Before has the indexes of the links that were in the namespace when ADD began, of
	// those that could be taken for what ADD makes.
	Before []int `json:"links_before,omitempty"`
	// Link is the interface's index in the namespace, once attached; 0 if the plugins
	// have made none.
	Link int `json:"link,omitempty"`
	// OnHost: the interface hangs on a link of the host's, as all do but hardware that was
	// moved into the namespace.
	OnHost bool `json:"on_host,omitempty"`

	// Cleared: an attach that failed was undone in its namespace, where no link of its
	// own is left; what remains is owed by the plugins.
	Cleared bool `json:"cleared,omitempty"`

	// Revoked: its user may not have it any more, nor again what it had.
	Revoked bool `json:"revoked,omitempty"`

	serial uint64 // grows with each record of this daemon's; 0 in those of an earlier one
}

const recordVersion = 1

// decodeRecord reads a record and checks that it is whole and stands under its own name.
func decodeRecord(name string, data []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	switch {
	case r.Version != recordVersion:
		return nil, fmt.Errorf("version %d is not one that this net-porter knows (%d)", r.Version, recordVersion)
	case r.Key.String() != strings.TrimSuffix(name, recordSuffix):
		return nil, fmt.Errorf("it describes %s", r.Key)
	case !r.State.isKnown():
		return nil, fmt.Errorf("unknown state %q", r.State)
	case r.State == FailedDetach && r.Failure == nil:
		return nil, fmt.Errorf("state %s without a failure", r.State)
	case r.Resource == "" || len(r.Config) == 0:
		return nil, errors.New("it has no resource or no configuration")
	}
	return &r, nil
}

// MACs returns the hardware addresses of the attachment's interface, lower-case.
func (r *Record) MACs() []string {
	var macs []string
	if r.Result == nil || r.Result.CNI == nil {
		return nil
	}
	for _, i := range r.Result.CNI.Interfaces {
		if i.Name == r.Interface && i.Sandbox != "" && i.Mac != "" {
			macs = append(macs, strings.ToLower(i.Mac))
		}
	}
	return macs
}
