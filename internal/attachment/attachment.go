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
// undone, attached stays if its namespace still lives.
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

// Result is what an attach gave: CNI's result, and the DHCP lease if there is one.
type Result struct {
	CNI   *types100.Result `json:"cni"`
	Lease *dhcp.Lease      `json:"lease,omitempty"`
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

	Namespace netns.ID        `json:"namespace"`
	NSID      int32           `json:"nsid"`   // the namespace's id in the daemon's, see netns.Registry
	Config    json.RawMessage `json:"config"` // the network configuration list that ADD ran
	Args      [][2]string     `json:"args,omitempty"`
	// Ports is the portMappings capability that ADD got.
	Ports  json.RawMessage `json:"port_mappings,omitempty"`
	Result *Result         `json:"result,omitempty"` // once attached
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
