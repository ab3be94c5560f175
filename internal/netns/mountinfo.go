package netns

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// maxMountLine bounds a line of mountinfo, in bytes; one that is longer is passed over.
// Where a namespace is mounted has four for each of its path at most.
const maxMountLine = 32 << 10

// mountReader reads what processes see of the mounts (proc_pid_mountinfo(5)), up to a
// number of bytes all together.
type mountReader struct {
	left  int64
	lines *bufio.Reader
}

func newMountReader(most int64) *mountReader {
	return &mountReader{left: most, lines: bufio.NewReaderSize(nil, maxMountLine)}
}

// mountsOf returns where a process sees a network namespace mounted, by its inode
// number; no more than maxMounts places, and what it has found once all that may be
// read is read. It is ErrCallerGone if the process has ended.
func (m *mountReader) mountsOf(pid int, ino uint64) ([]string, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/mountinfo")
	var paths []string
	if err == nil {
		defer f.Close()
		limited := &io.LimitedReader{R: f, N: m.left}
		paths, err = m.find(limited, ino)
		m.left = limited.N
	}
	switch {
	case isExhausted(err):
		return nil, fmt.Errorf("cannot read the mounts of a process: %w", err)
	case errors.Is(err, os.ErrPermission): // a security module's will
		return nil, nil
	case err != nil: // a zombie has no mounts: EINVAL
		return nil, ErrCallerGone
	}
	return paths, nil
}

func (m *mountReader) find(r io.Reader, ino uint64) (paths []string, err error) {
	m.lines.Reset(r)
	for len(paths) < maxMounts {
		line, err := m.lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) { // a line without an end is cut
			break
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			line = nil
			_, err = m.lines.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if path, ok := parseMount(line, ino); ok {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// parseMount returns the mount point of a line if what is mounted is the network
// namespace: "84 64 0:4 net:[4026532249] /run/ns rw shared:7 - nsfs nsfs rw". The
// root field of any other file system begins with a slash.
func parseMount(line []byte, ino uint64) (path string, ok bool) {
	fields := bytes.SplitN(line, []byte(" "), 6)
	if len(fields) < 6 {
		return "", false
	}
	if found, ok := parseNsfsName(string(fields[3]), "net"); !ok || found != ino {
		return "", false
	}
	return unescape(fields[4]), true
}

// unescape turns the kernel's \040 and the like into what they stand for.
func unescape(field []byte) string {
	var path []byte
	for len(field) > 0 {
		if len(field) >= 4 && field[0] == '\\' {
			if c, err := strconv.ParseUint(string(field[1:4]), 8, 8); err == nil {
				path, field = append(path, byte(c)), field[4:]
				continue
			}
		}
		path, field = append(path, field[0]), field[1:]
	}
	return string(path)
}
