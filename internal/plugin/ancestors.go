package plugin

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// maxAncestors is how far up podman is looked for. It is the grandparent; wrappers
// may stand in between.
const maxAncestors = 16

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
