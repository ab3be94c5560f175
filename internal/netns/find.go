package netns

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// findTimeout bounds all of a Find: that of one look-up of a path, and as much again
// for others, should a user have put a path that hangs before the right one.
const findTimeout = 2 * defaultTimeout

// Errors of Finder.Find. Errors of the system are neither.
var (
	// ErrGone: the namespace has died. It never comes back.
	ErrGone = errors.New("it is gone: nothing keeps it any more")
	// ErrUnreachable: the namespace lives, but there was no way to it, which may be
	// otherwise the next time.
	ErrUnreachable = errors.New("it lives, but the server has no way to it")

	errNothing = errors.New("no process is in it, and none of its user's sees a mount of it")
	// errUnproven: only before Linux 6.18.
	errUnproven = errors.New("its id was not given by the server, so this kernel has nothing to tell it from a later one")
)

// Wanted is what is recorded of a namespace, to find it by.
type Wanted struct {
	ID ID
	// NSID is what Registry.Assign has returned for it.
	NSID int32
	// UID is its owner, as Caller.UID was when it was opened.
	UID uint32
}

// Finder opens network namespaces again that were opened before, by an earlier daemon
// perhaps, and of which nothing was held since. It is safe for concurrent use.
type Finder struct {
	opener    *Opener
	registry  *Registry
	processes processes
	mounts    mountHints
	ways      []way // in this order
}

// search is one Find.
type search struct {
	Wanted
	// since is how many censuses had begun before it.
	since uint64
}

// way is one way to a namespace. It returns nil without an error where that leads
// nowhere. A way proves what it returns, whatever has led it there.
type way func(f *Finder, ctx context.Context, s search) (*Namespace, error)

// NewFinder returns a Finder. What users' file systems hang counts together with the
// Opener's own. The Registry is the one that namespaces have their ids from.
func NewFinder(o *Opener, r *Registry) *Finder {
	return &Finder{
		opener: o, registry: r, processes: newProcesses(),
		ways: []way{(*Finder).byHandle, (*Finder).byProcess, (*Finder).byMount},
	}
}

// Find opens a namespace that was identified earlier. It is the very same one: that is
// proved on the open descriptor by the id that it has, by its ID and by its owner.
// What leads there may be of its user's making.
//
// It takes some microseconds from Linux 6.18 on. Before, it takes as much once it knows
// a process that is in the namespace, and some milliseconds to look at all processes
// until then. It takes ten seconds at most, if a file system of the user's hangs.
//
// Its errors wrap ErrGone or ErrUnreachable, or are the system's, or that of ctx.
func (f *Finder) Find(ctx context.Context, want Wanted) (*Namespace, error) {
	ns, err := f.find(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("cannot find network namespace %s again: %w", want.ID, err)
	}
	return ns, nil
}

func (f *Finder) find(ctx context.Context, want Wanted) (*Namespace, error) {
	if want.ID.BootID != f.opener.boot {
		return nil, ErrGone
	}
	if err := f.lives(want.NSID); err != nil {
		return nil, err
	}
	if want.ID.Serial == 0 && !Lasting(want.NSID) {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, errUnproven)
	}
	limited, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	s := search{Wanted: want, since: f.processes.begun.Load()}
	var trouble error
	for _, way := range f.ways {
		ns, err := way(f, limited, s)
		if ns != nil {
			return ns, nil
		}
		if err != nil {
			trouble = err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := f.lives(want.NSID); err != nil { // it may have died meanwhile
		return nil, err
	}
	if trouble != nil {
		return nil, trouble
	}
	return nil, fmt.Errorf("%w: %w", ErrUnreachable, errNothing)
}

// lives returns ErrGone if no namespace has an id.
func (f *Finder) lives(nsid int32) error {
	_, err := f.registry.lookup(unix.NETNSA_NSID, nsid)
	if errors.Is(err, unix.ENOENT) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("cannot ask whether it lives: %w", err)
	}
	return nil
}

// byHandle asks the kernel for it.
func (f *Finder) byHandle(_ context.Context, s search) (*Namespace, error) {
	if s.ID.Serial == 0 {
		return nil, nil
	}
	fd, err := openHandle(s.ID.Serial, s.ID.Ino)
	if err != nil {
		return nil, unopened(err)
	}
	return f.prove(fd, s.Wanted)
}

// unopened is the error of a way whose file cannot be opened: none, unless that says
// nothing of the file.
func unopened(err error) error {
	if isExhausted(err) {
		return fmt.Errorf("cannot open it: %w", err)
	}
	return nil
}

// prove returns the Namespace of an open descriptor if it is the one wanted, nil if it
// is anything else; then it closes the descriptor.
func (f *Finder) prove(fd int, want Wanted) (*Namespace, error) {
	is, err := onNsfs(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot ask for its file system: %w", err)
	}
	if !is {
		unix.Close(fd)
		return nil, nil
	}
	ns, err := f.opener.own(fd, want.UID)
	if isUnfit(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return f.confirm(ns, want)
}

// confirm returns a Namespace that is want.UID's if it is the one wanted. If not, it
// closes it and returns nil.
func (f *Finder) confirm(ns *Namespace, want Wanted) (*Namespace, error) {
	if !ns.id.matches(want.ID) {
		return nil, ns.Close()
	}
	// The other numbers may be those of a namespace that has died: this one is not.
	nsid, err := f.registry.lookup(unix.NETNSA_FD, int32(ns.fd))
	if err == nil && nsid == want.NSID {
		return ns, nil
	}
	ns.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot ask for its id: %w", err)
	}
	return nil, nil
}

// matches says whether an ID can be that of the namespace that was identified before.
// Where that has no serial it may have got one since, from a newer daemon.
func (id ID) matches(before ID) bool {
	if before.Serial == 0 {
		id.Serial = 0
	}
	return id == before
}

// isUnfit says whether an error of Opener is about what was found at a path.
func isUnfit(err error) bool {
	about := []error{ErrInvalidPath, ErrNotFound, ErrNotNetns, ErrHostNamespace, ErrNotOwned}
	return slices.ContainsFunc(about, func(unfit error) bool { return errors.Is(err, unfit) })
}
