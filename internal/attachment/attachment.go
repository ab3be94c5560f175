// Package attachment owns the life of an attachment: one interface of one
// container of one user on one resource.
//
// Every attachment has a record in the journal, written before anything is made
// and removed after everything is gone, so that at any moment the journal names
// all that this daemon made. The states and what leads from one to the next:
//
//	(none)    --attach-->  pending    the record is written, CNI ADD runs
//	pending   --ADD ok-->  attached   the result is recorded and answered
//	pending   --failure->  (none)     CNI DEL undid it
//	pending   --DEL fails> detaching  the undo is owed
//	attached  --detach-->  detaching  CNI DEL runs
//	detaching --DEL ok-->  (none)
//	detaching --DEL fails> detaching  DEL is owed: the next detach, attach, sweep or start tries again
//	attached  --its namespace dies--> detaching
//
// A daemon that starts again finishes what it finds: pending and detaching are
// undone as far as that can be done without the namespace, attached stays if its
// namespace still lives.
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

// State is where in its life an attachment is.
type State string

// The states of the table in the package's doc.
const (
	Pending   State = "pending"
	Attached  State = "attached"
	Detaching State = "detaching"
)

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
	// KnownAs is the container's name or id, by which its LAN knows it again.
	KnownAs string `json:"known_as,omitempty"`

	Namespace netns.ID        `json:"namespace"`
	NSID      int32           `json:"nsid"`   // the namespace's id in the daemon's, see netns.Registry
	Config    json.RawMessage `json:"config"` // the network configuration list that ADD ran
	Args      [][2]string     `json:"args,omitempty"`
	// Ports is the portMappings capability that ADD got.
	Ports  json.RawMessage `json:"port_mappings,omitempty"`
	Result *Result         `json:"result,omitempty"` // once attached

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
	case r.State != Pending && r.State != Attached && r.State != Detaching:
		return nil, fmt.Errorf("unknown state %q", r.State)
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
