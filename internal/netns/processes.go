package netns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// pidsPerGroup is how many of its processes a group names: the first may have ended when
// it is needed.
const pidsPerGroup = 3

// processes takes censuses of the machine's processes. One runs at a time, and serves
// all who have asked for one before it began.
type processes struct {
	turn  chan struct{}
	begun atomic.Uint64 // censuses, also those that failed
	last  atomic.Pointer[census]
}

// census is what a look at all processes has shown, for as long as nothing changes.
type census struct {
	number uint64
	// inside are those in a network namespace, by its inode number.
	inside map[uint64]*group
	views  map[viewKey]*group
}

// viewKey names what the processes of one user see of the mounts. They are those with
// its effective uid, and those in a user namespace that it made.
type viewKey struct {
	uid uint32
	mnt uint64 // the inode number of the mount namespace
}

// group is processes that have something in common.
type group struct {
	pids  []int // the first of them
	count int   // of all
}

func newProcesses() processes { return processes{turn: make(chan struct{}, 1)} }

// known returns processes that were in a network namespace at the last census.
func (p *processes) known(ino uint64) (pids []int) {
	if c := p.last.Load(); c != nil {
		return c.isIn(ino)
	}
	return nil
}

// since returns a census that began after the first number of them.
func (p *processes) since(ctx context.Context, number uint64) (*census, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c := p.last.Load(); c != nil && c.number > number {
		return c, nil
	}
	c := &census{number: p.begun.Add(1), inside: map[uint64]*group{}, views: map[viewKey]*group{}}
	if err := c.take(); err != nil {
		return nil, fmt.Errorf("cannot look at the processes: %w", err)
	}
	p.last.Store(c)
	return c, nil
}

// take looks at all processes. Those that end meanwhile, or that a security module
// hides, are left out.
func (c *census) take() error {
	proc, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer proc.Close()
	own, _ := nsInode("self", "user")
	makers := map[uint64]uint32{own: overflowUID} // the machine's is nobody's own
	for {
		names, err := proc.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
				c.count(pid, name, makers)
			}
		}
	}
}

// count adds a process. makers are the users who made the user namespaces seen so far.
func (c *census) count(pid int, name string, makers map[uint64]uint32) {
	net, okNet := nsInode(name, "net")
	mnt, okMnt := nsInode(name, "mnt")
	user, okUser := nsInode(name, "user")
	var st unix.Stat_t
	if !okNet || !okMnt || !okUser || unix.Stat("/proc/"+name, &st) != nil {
		return
	}
	add(c.inside, net, pid)
	maker, ok := makers[user]
	if !ok {
		maker = userNamespaceMaker(name)
		makers[user] = maker
	}
	add(c.views, viewKey{st.Uid, mnt}, pid)
	if maker != st.Uid && maker != overflowUID {
		add(c.views, viewKey{maker, mnt}, pid)
	}
}

func add[K comparable](groups map[K]*group, key K, pid int) {
	g := groups[key]
	if g == nil {
		g = &group{}
		groups[key] = g
	}
	g.count++
	if len(g.pids) < pidsPerGroup {
		g.pids = append(g.pids, pid)
	}
}

// isIn returns processes that are in a network namespace.
func (c *census) isIn(ino uint64) []int {
	if g := c.inside[ino]; g != nil {
		return g.pids
	}
	return nil
}

// viewsOf are the views of one user, the one with most processes first: it is
// podman's own, with one process or more of each container, while each container's
// has its own.
func (c *census) viewsOf(uid uint32) []*group {
	keys := slices.SortedFunc(maps.Keys(c.views), func(a, b viewKey) int {
		return cmp.Or(cmp.Compare(c.views[b].count, c.views[a].count), cmp.Compare(a.mnt, b.mnt))
	})
	var views []*group
	for _, k := range keys {
		if k.uid == uid {
			views = append(views, c.views[k])
		}
	}
	return views
}

// nsInode reads the inode number of a process's namespace from /proc/<pid>/ns
// (namespaces(7)) without opening it.
func nsInode(pid, kind string) (ino uint64, ok bool) {
	var buf [64]byte
	n, err := unix.Readlink("/proc/"+pid+"/ns/"+kind, buf[:])
	if err != nil {
		return 0, false
	}
	return parseNsfsName(string(buf[:n]), kind)
}

// parseNsfsName reads "net:[4026531840]", as nsfs names its files.
func parseNsfsName(name, kind string) (ino uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, kind+":[")
	if !ok {
		return 0, false
	}
	digits, ok = strings.CutSuffix(digits, "]")
	if !ok {
		return 0, false
	}
	ino, err := strconv.ParseUint(digits, 10, 64)
	return ino, err == nil
}

// userNamespaceMaker is the user who made a process's user namespace, or overflowUID.
func userNamespaceMaker(pid string) uint32 {
	fd, err := unix.Open("/proc/"+pid+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return overflowUID
	}
	defer unix.Close(fd)
	uid, err := unix.IoctlGetUint32(fd, unix.NS_GET_OWNER_UID)
	if err != nil {
		return overflowUID
	}
	return uid
}
