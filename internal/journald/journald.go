// Package journald owns how log records get into systemd's journal with their fields:
// a handler of log/slog, and the journal's native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
//
// Field names come from the program, values from anybody. So each value is sent with its
// length in front of it, and no value can be taken for the next field.
package journald

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// IsJournal says whether a file is the stream that systemd has connected to the journal,
// as it does with stderr of a service: JOURNAL_STREAM has the file's device and inode
// (systemd.exec(5)). A daemon that merely inherited the variable is told apart so.
func IsJournal(f *os.File) bool {
	device, inode, ok := strings.Cut(os.Getenv("JOURNAL_STREAM"), ":")
	if !ok {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	return device == strconv.FormatUint(uint64(st.Dev), 10) && inode == strconv.FormatUint(st.Ino, 10)
}
