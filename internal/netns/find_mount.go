package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxViews bounds the mount namespaces of one user that a Find looks at. Each of
	// their containers has one.
	maxViews = 1024
	// maxMounts bounds the mounts of the namespace that it tries in one of them.
	maxMounts = 8
	// maxMountinfo bounds what it reads of mounts, in bytes, all together.
	maxMountinfo = 64 << 20
	// maxHints bounds the mounts that are remembered.
	maxHints = 1024
)

// mountHint is where a namespace was found mounted: what a process sees at a path.
type mountHint struct {
	pid  int
	path string
}

// mountHints are those of the last Finds.
type mountHints struct {
	mu sync.Mutex
	by map[Wanted]mountHint
}

func (h *mountHints) get(w Wanted) (hint mountHint, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	hint, ok = h.by[w]
	return hint, ok
}

func (h *mountHints) set(w Wanted, hint mountHint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil || len(h.by) >= maxHints { // most are of the dead by then
		h.by = map[Wanted]mountHint{}
	}
	h.by[w] = hint
}

func (h *mountHints) drop(w Wanted) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.by, w)
}

// byMount opens a mount of it that a process of its owner sees, with the owner's
// rights and no more. Podman mounts a container's namespace where only its user's own
// mount namespace shows it (/run/user/<uid>/netns/netns-<uuid>).
func (f *Finder) byMount(ctx context.Context, s search) (*Namespace, error) {
	if hint, ok := f.mounts.get(s.Wanted); ok {
		// If it fails, for whatever reason, looking everywhere tells that, too.
		ns, _, _ := f.mounted(ctx, s, hint.pid, func(int) ([]string, error) { return []string{hint.path}, nil })
		if ns != nil {
			return ns, nil
		}
		f.mounts.drop(s.Wanted)
	}
	c, err := f.processes.since(ctx, s.since)
	if err != nil {
		return nil, err
	}
	views := c.viewsOf(s.UID)
	reader := newMountReader(maxMountinfo)
	read := func(pid int) ([]string, error) { return reader.mountsOf(pid, s.ID.Ino) }
	var trouble error
	for _, v := range views[:min(len(views), maxViews)] {
		for _, pid := range v.pids {
			ns, path, err := f.mounted(ctx, s, pid, read)
			if ns != nil {
				f.mounts.set(s.Wanted, mountHint{pid, path})
				return ns, nil
			}
			if errors.Is(err, ErrCallerGone) {
				continue // to one that sees the same
			}
			if err != nil {
				trouble = err
			}
			break
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, trouble
}

// mounted opens the first of some paths that leads to it as a process sees them, and
// returns that path, too. It is ErrCallerGone if the process has ended.
func (f *Finder) mounted(ctx context.Context, s search, pid int, paths func(pid int) ([]string, error)) (*Namespace, string, error) {
	pin, err := pinProcess(pid, s.UID)
	if err != nil {
		return nil, "", err
	}
	defer pin.Close() // a walk that still hangs learns from then on that it is gone
	list, err := paths(pid)
	if err != nil {
		return nil, "", err
	}
	// The directories that lead to it are the user's own. A group of theirs, which
	// they may be in no more, is not needed, and nobody's group grants the least.
	caller := Caller{UID: s.UID, GID: overflowUID, PID: pid, Alive: pin.alive}
	var trouble error
	for _, path := range list {
		ns, err := f.opener.open(ctx, caller, path)
		switch {
		case err == nil:
			if ns, err = f.confirm(ns, s.Wanted); ns != nil || err != nil {
				return ns, path, err
			}
		case isUnfit(err): // what is there now is not what was
		case errors.Is(err, ErrTimeout), errors.Is(err, ErrBusy):
			trouble = fmt.Errorf("%w: %w", ErrUnreachable, err)
		default:
			return nil, "", err
		}
	}
	return nil, "", trouble
}

// pin is a process by its pidfd (pidfd_open(2)): as long as that says that it runs,
// its number is not given to another. It is safe for concurrent use.
type pin struct{ *os.File }

// pinProcess pins a process that is uid's: its effective uid, or that of who made its
// user namespace. It is ErrCallerGone if it is not there, or is another's by now.
func pinProcess(pid int, uid uint32) (pin, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if isExhausted(err) {
		return pin{}, fmt.Errorf("cannot open a pidfd: %w", err)
	}
	if err != nil {
		return pin{}, ErrCallerGone
	}
	p := pin{os.NewFile(uintptr(fd), "pidfd")}
	var st unix.Stat_t
	err = unix.Stat("/proc/"+strconv.Itoa(pid), &st)
	if err != nil || st.Uid != uid && userNamespaceMaker(strconv.Itoa(pid)) != uid {
		p.Close()
		return pin{}, ErrCallerGone
	}
	return p, nil
}

func (p pin) alive() error {
	conn, err := p.SyscallConn()
	if err != nil {
		return err
	}
	gone := ErrCallerGone
	if err := conn.Control(func(fd uintptr) {
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n == 0 && err == nil {
				gone = nil
			}
			return
		}
	}); err != nil {
		return err
	}
	return gone
}
