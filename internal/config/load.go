package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxSize bounds the file, in bytes: thousands of resources fit, and a file named
// by mistake does not fill the memory of a daemon that runs as root.
const maxSize = 1 << 20

// Load reads the configuration file at path, and the files in config.d beside it that
// end in .json, in the order of their names. Besides what [Parse] refuses, it refuses a
// file that somebody else than root and the running user can write: whoever writes it
// decides who gets onto the LAN. Errors are *[Error]; a missing file is fs.ErrNotExist as
// well.
//
// The directories above need no check of their own: who can write one can only put
// a file in place that is theirs, and that is refused for its owner.
func Load(path string) (*Config, error) {
	data, err := readTrusted(path)
	if err != nil {
		return nil, err
	}
	names, err := dropIns(path)
	if err != nil {
		return nil, err
	}
	var more []source
	var errs []error
	for _, name := range names {
		data, err := readTrusted(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		more = append(more, source{name, data})
	}
	c, err := parseAll(source{path, data}, more)
	if err := errors.Join(append([]error{err}, errs...)...); err != nil {
		return nil, err
	}
	return c, nil
}

func readTrusted(path string) ([]byte, error) {
	// O_NONBLOCK: a FIFO in place of the file must not hang the daemon's start.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, openError(path, err)
	}
	defer f.Close()

	// What is checked is the open file, not the path, which could change in between.
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &Error{File: path, Message: fmt.Sprintf("cannot examine the file: %v", err), cause: err}
	}
	if e := untrusted(path, &st, os.Geteuid()); e != nil {
		return nil, e
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, &Error{File: path, Message: fmt.Sprintf("cannot read the file: %v", err), cause: err}
	}
	return data, nil
}

func openError(path string, err error) *Error {
	e := &Error{File: path, Message: "cannot open the file: " + reason(err), cause: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Message = "there is no such file"
		e.Hint = "name another with -c FILE"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "the daemon and the check of its file run as root"
	}
	return e
}

// reason is the system's words without the operation and the path, which the error names already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// untrusted says why a file with these attributes may not be the configuration of
// a process with this effective uid; nil when it may.
func untrusted(path string, st *unix.Stat_t, euid int) *Error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return &Error{File: path, Message: "this is not a regular file",
			Hint: "name the configuration file itself"}
	case st.Uid != 0 && int64(st.Uid) != int64(euid):
		return &Error{File: path,
			Message: fmt.Sprintf("the file belongs to uid %d, who could change who gets onto the network", st.Uid),
			Hint:    "chown root " + path}
	case st.Mode&0o022 != 0:
		// A POSIX ACL that lets somebody write shows in the group bits too: acl(5).
		return &Error{File: path,
			Message: fmt.Sprintf("the file's mode is %04o: others than its owner could change who gets onto the network", st.Mode&0o7777),
			Hint:    "chmod go-w " + path}
	}
	return nil
}
