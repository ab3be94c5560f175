// Package peer owns the answer to "who is calling?": the kernel's word on the
// process at the other end of a unix socket, as one typed value.
//
// All of it was fixed by the kernel at the moment of connect(2) (unix(7)). A
// process that connected and then executed a set-uid program, changed its ids, or
// handed the socket to another process is still who it was then. That is what is
// wanted: nobody gains by it what the one who connected did not have.
//
// The identity is never part of an address or of any other string that has to be
// taken apart again: a peer names its own end of the socket, with bind(2), as it
// likes.
package peer

import (
	"context"
	"errors"
	"net"
	"slices"
)

// ErrExited says that the process that connected is gone, so that nothing under
// /proc/<pid> can be taken for its own any more.
var ErrExited = errors.New("the calling process has exited")

// Identity is a process that connected, as it was when it did. The zero value is
// no valid identity: its Alive fails, but its IsRoot does not know better.
type Identity struct {
	// UID and GID are the effective ids, as numbers of the daemon's user
	// namespace (SO_PEERCRED, unix(7)).
	UID, GID uint32
	// Groups are the supplementary groups (SO_PEERGROUPS), without GID unless it
	// is listed among them too.
	Groups []uint32
	// Account is the user whom the peer answers for, by which bounds are counted:
	// the same as UID, unless the peer runs with a subordinate uid of that user
	// (subuid(5)) or with a uid of some container of theirs.
	Account uint32
	// PID is the process id in the daemon's pid namespace; 0 when the process is
	// in one that the daemon cannot see into.
	PID int

	process *process
}

// IsRoot says whether the peer is root of the daemon's user namespace. Root in a
// user namespace of somebody's own is not.
func (id Identity) IsRoot() bool { return id.UID == 0 }

// InGroup says whether gid is the peer's primary group or one of the others.
func (id Identity) InGroup(gid uint32) bool {
	return id.GID == gid || slices.Contains(id.Groups, gid)
}

// Alive returns nil while the process that connected runs, and so PID is its
// number and no other's; ErrExited once it is gone, or once the identity was
// closed. To read something of /proc/<PID> that is certainly of this process,
// open it first and ask Alive then.
func (id Identity) Alive() error {
	if id.process == nil {
		return ErrExited
	}
	return id.process.alive()
}

// Close gives back the descriptor that Alive needs. The rest of the identity, and
// all its copies, stay readable. Closing again does nothing. A Conn closes its own.
func (id Identity) Close() error {
	if id.process == nil {
		return nil
	}
	return id.process.close()
}

type contextKey struct{}

// NewContext returns a context that carries the identity.
func NewContext(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// FromContext returns the identity that NewContext put in. Without one the caller
// is unknown, and must be refused.
func FromContext(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(contextKey{}).(Identity)
	return id, ok
}

// ConnContext is for http.Server's field of that name: requests on a connection of
// a Listener get its peer's identity into their contexts, those on any other
// connection get none.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if pc, ok := c.(*Conn); ok {
		return NewContext(ctx, pc.Identity())
	}
	return ctx
}
