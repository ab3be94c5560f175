package enforce

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/enforce/nft"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrUnsupported says that the kernel cannot do it.
	ErrUnsupported = errors.New("this kernel has no egress hook of nftables' netdev family (Linux 5.16, CONFIG_NETFILTER_EGRESS), " +
		`which "enforce" needs: use a newer kernel, or remove "enforce" from the resource`)
	// ErrNoParent says that a parent link is not there.
	ErrNoParent = errors.New("the parent link is not there")
	// ErrNotAdmitted says that there is nothing to be changed of an attachment.
	ErrNotAdmitted = errors.New("the attachment was not admitted")
)

// Enforcer keeps the rules of the kernel in step with what attachments hold. Its methods
// may be called at once from many goroutines. Where one fails, the rules are as before;
// what Reconcile could not write is owed, and written as soon as that can be done.
type Enforcer struct {
	log *slog.Logger

	mu         sync.Mutex
	conn       *nft.Conn
	parents    []string // to be enforced whether anybody holds something there or not
	held       map[string]kept
	count      map[element]int // of how many attachments an element is
	installed  picture
	owed       *wish  // what is to be in the place of parents and held; nil if they are that
	generation uint32 // of nf_tables if nobody else has changed anything
	purged     bool   // nothing of ours was left in the kernel when we looked last
	failing    bool   // the rules could not be made what they have to be
	restored   int    // how often others' changes were undone
}

// wish is what Reconcile was asked for.
type wish struct {
	parents []string
	held    map[string]kept
}

// kept is what is held, and the index of the link that it is held on, 0 if that is gone.
type kept struct {
	Held
	index int
}

// New makes an Enforcer for the network namespace of the calling thread, and has to be
// called where all threads are in one. It changes nothing: rules of an earlier run stay as
// they are until Reconcile.
func New(log *slog.Logger) (*Enforcer, error) {
	conn, err := nft.Open()
	if err != nil {
		return nil, err
	}
	return &Enforcer{log: log, conn: conn, held: map[string]kept{}, count: map[element]int{}}, nil
}

// Close lets go of the kernel. The rules stay.
func (e *Enforcer) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conn.Close()
}

// Supported finds out whether this kernel can do it; ErrUnsupported or another error. It
// changes nothing.
func Supported() error {
	conn, err := nft.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	loopback, err := indexOf("lo")
	if err != nil {
		return err
	}
	probe := picture{links: map[int]place{loopback: {"lo", "lo", gate{loopback, loopback, "lo"}}}}
	switch err := conn.Check(probe.batch(nil, secrets{}, nil, false)); {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%w (%w)", ErrUnsupported, err)
	default:
		return err
	}
}

// Admit lets an attachment send as what it holds, and as nothing else that it held before
// under its id. It returns when the kernel goes by it.
func (e *Enforcer) Admit(h Held) error {
	if err := h.check(); err != nil {
		return err
	}
	h.MAC, h.Addrs = slices.Clone(h.MAC), slices.Clone(h.Addrs)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.admit(h)
}

// Update changes the addresses of an attachment that was admitted.
func (e *Enforcer) Update(id string, addrs []netip.Addr) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	was, ok := e.wanted().held[id]
	if !ok {
		return fmt.Errorf("%w: %s", ErrNotAdmitted, id)
	}
	h := was.Held
	h.Addrs = slices.Clone(addrs)
	if err := h.check(); err != nil {
		return err
	}
	return e.admit(h)
}

func (e *Enforcer) admit(h Held) error {
	index, err := indexOf(h.Parent)
	if err != nil {
		return err
	}
	if index == 0 {
		return noParent(h)
	}
	k := kept{h, index}
	if at := e.installed.links[index]; at.name == h.Parent && at.gate != (gate{}) {
		err := e.change(h.ID, &k)
		if err == nil {
			if e.owed != nil {
				e.owed.held[h.ID] = k
			}
			return nil
		}
		e.log.Warn("the rules that enforce what containers may send are not as they were made; they are made anew", "error", err)
	}
	w := e.wanted()
	held := maps.Clone(w.held)
	held[h.ID] = k
	if err := e.install(w.parents, held); err != nil {
		return err
	}
	if e.held[h.ID].index == 0 { // it has gone this moment
		delete(e.held, h.ID)
		return noParent(h)
	}
	return nil
}

func noParent(h Held) error {
	return fmt.Errorf("cannot enforce what %s may send: %w: %s", h.ID, ErrNoParent, h.Parent)
}

// Remove takes away what an attachment held; that it held nothing is no error.
func (e *Enforcer) Remove(id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owed != nil {
		delete(e.owed.held, id)
	}
	gone, ok := e.held[id]
	if !ok {
		return nil
	}
	if e.owed != nil || e.isNeeded(gone.Parent, id) {
		err := e.change(id, nil)
		if err == nil {
			return nil
		}
		e.log.Warn("the rules that enforce what containers may send are not as they were made; they are made anew", "error", err)
	}
	w := e.wanted()
	held := maps.Clone(w.held)
	delete(held, id)
	return e.install(w.parents, held)
}

// Link is the index of the link on which what an attachment holds is enforced, whatever
// that is called by now; 0 if there is none.
func (e *Enforcer) Link(id string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, ok := e.held[id]
	if !ok && e.owed != nil { // what is granted to it has to be heard of all the same
		k.index, _ = indexOf(e.owed.held[id].Parent)
	}
	return k.index
}

// InForce are the parents that have rules in the kernel, maybe those of an earlier run.
func (e *Enforcer) InForce() ([]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	there, err := e.conn.Chains(netTable)
	if err != nil {
		return nil, err
	}
	var parents []string
	for _, at := range placesOf(there) {
		parents = append(parents, at.name)
	}
	return parents, nil
}

// wanted is what the rules have to be for.
func (e *Enforcer) wanted() wish {
	if e.owed != nil {
		return *e.owed
	}
	return wish{e.parents, e.held}
}

// isNeeded says whether a parent has rules without the attachment, too.
func (e *Enforcer) isNeeded(parent, without string) bool {
	if slices.Contains(e.parents, parent) {
		return true
	}
	for id, k := range e.held {
		if id != without && k.Parent == parent {
			return true
		}
	}
	return false
}

// Reconcile makes the rules what they have to be: on the parents, those of all resources
// with "enforce", and for what all attachments of these hold. What is there of an earlier
// run, or of an earlier configuration, is changed into that in one moment. With nothing of
// either nothing is left of the tables. Where it fails it is owed: Run tries again, and so
// does an Admit that cannot do without.
func (e *Enforcer) Reconcile(parents []string, all []Held) error {
	held := make(map[string]kept, len(all))
	for _, h := range all {
		if err := h.check(); err != nil {
			return fmt.Errorf("attachment %s: %w", h.ID, err)
		}
		h.MAC, h.Addrs = slices.Clone(h.MAC), slices.Clone(h.Addrs)
		held[h.ID] = kept{h, 0}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, k := range held {
		if was, ok := e.held[id]; ok && was.Parent == k.Parent {
			k.index = was.index
			held[id] = k
		}
	}
	w := wish{slices.Clone(parents), held}
	err := e.install(w.parents, w.held)
	if err != nil {
		e.owed, e.failing = &w, true
	}
	return err
}

// Status says whether there is anything to enforce, and if so whether the rules are what
// they have to be, and how often they were restored after another program's changes.
func (e *Enforcer) Status() (wanted, inForce bool, restored int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.installed.links) > 0 || len(e.wanted().parents) > 0, !e.failing, e.restored
}

// Purge removes the tables and the gates, for an uninstall.
func Purge() error {
	conn, err := nft.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Apply(removal()); err != nil {
		return fmt.Errorf("cannot remove the tables %s of nftables: %w", TableName, err)
	}
	h, err := look()
	if err != nil {
		return err
	}
	return removeGates(h, picture{})
}

func removal() *nft.Batch {
	b := &nft.Batch{}
	for _, t := range []nft.Table{netTable, inetTable} {
		b.AddTable(t) // so that there is one to remove
		b.DeleteTable(t)
	}
	return b
}

// newSecrets are others than anybody can know.
func newSecrets() secrets {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // which never fails
		s := secrets{binary.NativeEndian.Uint32(b[:]) & smallPriority, binary.NativeEndian.Uint32(b[4:])}
		// Neither is what a priority is by itself, nor the other.
		if s.host != 0 && s.passed&smallPriority != 0 && s.passed&smallPriority != s.host {
			return s
		}
	}
}
