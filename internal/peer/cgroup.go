package peer

import (
	"io"
	"os"
	"strconv"
	"strings"
)

// Cgroup is where a process is among control groups: a path below the root of their tree,
// as in /sys/fs/cgroup. What systemd has made of the system's begins with the name of a
// slice; below what was delegated to a user, such as user@1000.service, the user names the
// rest as they like, with any byte but NUL, newline and '/'.
type Cgroup string

// maxCgroupFile is how much is read, in bytes: hierarchies of version 1, of which there
// are a dozen, come first.
const maxCgroupFile = 64 << 10

// Cgroup is the peer's now, not as it was at connect(2); "" for a peer that has exited
// or that the daemon cannot see. With version 1 it is that of systemd's own hierarchy
// (cgroups(7)).
func (id Identity) Cgroup() Cgroup {
	if id.PID == 0 {
		return ""
	}
	f, err := os.Open("/proc/" + strconv.Itoa(id.PID) + "/cgroup")
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCgroupFile))
	if err != nil || id.Alive() != nil { // what was read may be of another process by now
		return ""
	}
	return findCgroup(string(text))
}

func findCgroup(text string) Cgroup {
	var found string
	for line := range strings.Lines(text) {
		line, whole := strings.CutSuffix(line, "\n")
		if !whole {
			break
		}
		if path, ok := strings.CutPrefix(line, "0::"); ok && (path != "/" || found == "") {
			found = path
		}
		if _, path, ok := strings.Cut(line, ":name=systemd:"); ok && found == "" {
			found = path
		}
	}
	return Cgroup(found)
}

// Unit is the unit of the system's manager, and that of the user's own manager, "" without
// one, as the journal has them in _SYSTEMD_UNIT and _SYSTEMD_USER_UNIT
// (systemd.journal-fields(7)). The user's is what the user calls it.
func (c Cgroup) Unit() (system, user string) {
	system, rest := unitIn(string(c))
	if strings.HasPrefix(system, "user@") {
		user, _ = unitIn(rest)
	}
	return system, user
}

// unitIn is the first unit of a path that is no slice, and what comes after it.
func unitIn(path string) (unit, rest string) {
	for path != "" {
		var name string
		name, path, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if strings.HasSuffix(name, ".slice") {
			continue
		}
		if name = strings.TrimPrefix(name, "_"); isUnit(name) {
			return name, path
		}
		return "", ""
	}
	return "", ""
}

// maxUnit is the length of the longest name of a unit (systemd.unit(5)).
const maxUnit = 255

func isUnit(name string) bool {
	prefix, isService := strings.CutSuffix(name, ".service")
	prefix, isScope := strings.CutSuffix(prefix, ".scope")
	return isService != isScope && prefix != "" && len(name) <= maxUnit && !strings.ContainsFunc(prefix, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`:-_.\@`, r))
	})
}
