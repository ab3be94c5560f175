package netns

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/osthread"
)

const (
	// defaultTimeout bounds a look-up; it takes far below a millisecond unless a
	// file system on the way hangs.
	defaultTimeout = 5 * time.Second
	// walksPerUser is how many look-ups of one user run at a time. Each has a
	// thread, and one that hangs in the kernel cannot be called back.
	walksPerUser = 8
	// maxPath is PATH_MAX without the final NUL (limits.h).
	maxPath = unix.PathMax - 1
	// maxQuoted bounds how much of a path an error quotes, in bytes.
	maxQuoted = 256
)

// Caller is the process whose view of the file system a path is looked up in.
type Caller struct {
	// UID, GID and Groups are the caller's, as numbers of the daemon's user
	// namespace. With these rights the path is walked, and UID must own what is
	// found.
	UID, GID uint32
	Groups   []uint32
	// PID is the caller's process id in the daemon's pid namespace, 0 if it has none.
	PID int
	// Alive returns nil as long as PID is certainly still the caller's. It is
	// called on another goroutine, also after Open has returned.
	Alive func() error
}

// Opener opens the network namespaces of callers. It is safe for concurrent use. A
// user whose look-ups hang, on a FUSE or NFS mount of theirs, keeps only their own
// next ones waiting.
type Opener struct {
	host    hostNamespaces
	boot    string
	timeout time.Duration
	slots   *slots
}

// NewOpener reads once which network namespace is the host's, which is the one that
// the daemon is in at that time, and the one of process 1. It fails where these
// cannot be known, e.g. without /proc.
func NewOpener() (*Opener, error) {
	host, err := readHostNamespaces()
	if err != nil {
		return nil, err
	}
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	return &Opener{host: host, boot: boot, timeout: defaultTimeout, slots: newSlots(walksPerUser)}, nil
}

// Open opens the network namespace that the caller sees at path, if it is the
// caller's own. It takes five seconds at most. Its errors wrap one of this package's
// where the caller, or the path, is to blame; any other is the daemon's or the
// system's fault, or that of ctx. They quote the path as given, and never what it
// leads to.
func (o *Opener) Open(ctx context.Context, caller Caller, path string) (*Namespace, error) {
	ns, err := o.open(ctx, caller, path)
	if err != nil {
		return nil, fmt.Errorf("cannot open network namespace %s: %w", quote(path), err)
	}
	return ns, nil
}

func (o *Opener) open(ctx context.Context, caller Caller, path string) (*Namespace, error) {
	switch {
	case !validPath(path):
		return nil, ErrInvalidPath
	case caller.PID <= 0:
		return nil, ErrCallerHidden
	case caller.Alive == nil:
		return nil, ErrCallerGone
	}
	limited, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()

	release, ok := o.slots.take(limited, caller.UID)
	if !ok {
		return nil, overdue(ctx, ErrBusy)
	}
	leave, err := walks.enter(limited)
	if err != nil {
		release()
		return nil, overdue(ctx, ErrTimeout)
	}
	type result struct {
		fd  int
		err error
	}
	found := make(chan result) // unbuffered: what nobody takes is closed here
	osthread.Run(func() (clean bool) {
		defer release() // not earlier: a walk that hangs keeps its slot
		defer leave()
		fd, err := walk(caller, path)
		select {
		case found <- result{fd, err}:
		case <-limited.Done():
			if err == nil {
				unix.Close(fd)
			}
		}
		return false // the thread has no rights any more
	})
	select {
	case r := <-found:
		if r.err != nil {
			return nil, r.err
		}
		defer unix.Close(r.fd)
		return o.prove(caller, r.fd)
	case <-limited.Done():
		return nil, overdue(ctx, ErrTimeout)
	}
}

// prove opens what a walk has found, and proves that it is the caller's.
func (o *Opener) prove(caller Caller, walked int) (*Namespace, error) {
	fd, err := reopen(walked)
	if err != nil {
		return nil, fmt.Errorf("cannot open it for reading: %w", err)
	}
	return o.own(fd, caller.UID)
}

// own makes a Namespace of a descriptor on nsfs that is open for reading, if it is of
// one of uid's. If not, the descriptor is closed.
func (o *Opener) own(fd int, uid uint32) (*Namespace, error) {
	id, err := o.host.prove(fd, uid)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Namespace{fd: fd, id: ID{Dev: id.dev, Ino: id.ino, Serial: serialOf(fd), BootID: o.boot}}, nil
}

// overdue is err, unless it was the one who asked who has given up.
func overdue(asked context.Context, err error) error {
	if errors.Is(asked.Err(), context.Canceled) {
		return context.Cause(asked)
	}
	return err
}

// validPath is the grammar of a path to look up. Newlines and the like are legal in
// file names, but no program gives a namespace such a name, and they would go on
// into logs.
func validPath(path string) bool {
	if path == "" || path[0] != '/' || len(path) > maxPath {
		return false
	}
	for _, c := range []byte(path) {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

func quote(path string) string {
	if len(path) > maxQuoted {
		return fmt.Sprintf("%q…", path[:maxQuoted])
	}
	return fmt.Sprintf("%q", path)
}
