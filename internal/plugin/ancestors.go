package plugin

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"strconv"
)

// maxAncestors is how far up podman is looked for. It is the grandparent; wrappers
// may stand in between.
const maxAncestors = 16

// maxThreads is how many threads of an ancestor are looked through. All but those
// that start netavark at this moment see what podman sees, so the first few do.
const maxThreads = 64

// ancestors returns the process ids of the parent, its parent and so on.
func ancestors() []int {
	var pids []int
	for pid := os.Getppid(); pid > 0 && len(pids) < maxAncestors; pid = parent(pid) {
		pids = append(pids, pid)
	}
	return pids
}

// parent returns the parent of a process, or 0 if that cannot be told (proc_pid_status(5)).
func parent(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("PPid:")); ok {
			ppid, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil {
				return 0
			}
			return ppid
		}
	}
	return 0
}

// roots yields the paths at which the root of a process may be seen (proc_pid_root(5)),
// its main thread's first; the others are looked for only if that one does not do.
//
// Podman unshares the mount namespace of the one thread that starts netavark. When
// that happens to be its main thread, /proc/<pid>/root has podman's private /run, and
// only its other threads' roots have the host's.
func roots(pid int) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(fmt.Sprintf("/proc/%d/root", pid)) {
			return
		}
		tasks, err := os.Open(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return
		}
		defer tasks.Close()
		threads, _ := tasks.Readdirnames(maxThreads) // what was read counts
		for _, tid := range threads {
			if tid != strconv.Itoa(pid) && !yield(fmt.Sprintf("/proc/%d/task/%s/root", pid, tid)) {
				return
			}
		}
	}
}
