package netns

import (
	"context"
	"strconv"

	"golang.org/x/sys/unix"
)

// byProcess opens it as the network namespace of a process: of one that was in it
// before, and then of one that a look at all of them shows.
func (f *Finder) byProcess(ctx context.Context, s search) (*Namespace, error) {
	if ns, err := f.inside(f.processes.known(s.ID.Ino), s); ns != nil || err != nil {
		return ns, err
	}
	c, err := f.processes.since(ctx, s.since)
	if err != nil {
		return nil, err
	}
	return f.inside(c.isIn(s.ID.Ino), s)
}

// inside opens it as that of one of some processes. What their numbers mean by now is
// of no account: what is opened is proved.
func (f *Finder) inside(pids []int, s search) (*Namespace, error) {
	for _, pid := range pids {
		fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		var ns *Namespace
		if err != nil {
			err = unopened(err)
		} else {
			ns, err = f.prove(fd, s.Wanted)
		}
		if ns != nil || err != nil {
			return ns, err
		}
	}
	return nil, nil
}
