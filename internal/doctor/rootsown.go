package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links lead on, as for the kernel (path_resolution(7)).
const maxLinks = 40

// errNotRoots says that a file is not used as root.
var errNotRoots = errors.New("somebody else than root could have put it there, so it is not used as root")

// rootsOwn returns where a path leads to, if nobody but root has a say in that: each
// folder and link on the way, and the file, belongs to root and can be written to by root
// alone. So it stays true after it was found out, as long as what it returns is used, and not
// the path again.
func (h *host) rootsOwn(path string) (string, error) {
	fault := func(err error) (string, error) { return "", fmt.Errorf("%s: %w", path, err) }
	if !filepath.IsAbs(path) {
		return fault(errNotRoots)
	}
	at, rest, links := "/", path, 0
	for rest != "" {
		var step string
		step, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		if step == "" || step == "." {
			continue
		}
		// ".." is right, since no part of at is a link.
		next := filepath.Join(at, step)
		var st unix.Stat_t
		if err := unix.Lstat(h.path(next), &st); err != nil {
			return fault(err)
		}
		if st.Uid != 0 {
			return fault(errNotRoots)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			if st.Mode&0o022 != 0 {
				return fault(errNotRoots)
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return fault(unix.ELOOP)
		}
		target, err := os.Readlink(h.path(next))
		if err != nil {
			return fault(err)
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = target + "/" + rest
	}
	return h.path(at), nil
}
