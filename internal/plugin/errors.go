package plugin

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// unreachableError says that the daemon could not be connected to, why probably, and
// what to do about it.
type unreachableError struct {
	path   string
	err    error
	socket *unix.Stat_t // set when the socket file refused this user
}

func (e *unreachableError) Unwrap() error { return e.err }

func (e *unreachableError) Error() string {
	switch {
	case errors.Is(e.err, unix.EACCES):
		return e.denied()
	case isAbsent(e.err):
		return fmt.Sprintf("cannot reach the daemon: there is no socket %s; is net-porter running? (`systemctl status net-porter`; a socket elsewhere is named with -o %s=PATH when the network is created)", e.path, optSocket)
	case errors.Is(e.err, unix.ECONNREFUSED):
		return fmt.Sprintf("cannot reach the daemon: nobody listens on %s; net-porter is not running (`systemctl status net-porter`, `sudo systemctl start net-porter`)", e.path)
	case errors.Is(e.err, unix.EAGAIN):
		return fmt.Sprintf("cannot reach the daemon: too many are waiting at %s; try again in a moment", e.path)
	default:
		return fmt.Sprintf("cannot reach the daemon at %s: %s", e.path, plain(e.err.Error()))
	}
}

// denied names the group to be in. In podman's user namespace the socket's group
// cannot be seen.
func (e *unreachableError) denied() string {
	const newLogin = "The group counts from the next login on: log out everywhere and in again, with lingering by `loginctl terminate-user $USER`, which ends running containers"
	s := e.socket
	if s == nil {
		return fmt.Sprintf("permission denied: a directory on the way to the daemon's socket %s is closed to you; an administrator can open it", e.path)
	}
	if s.Mode&0o020 == 0 || s.Gid == 0 {
		return fmt.Sprintf("permission denied on the daemon's socket %s: it is open to no group of users; an administrator sets domain_socket.group and domain_socket.mode in net-porter's configuration", e.path)
	}
	if group := groupName(s.Gid); group != "" {
		return fmt.Sprintf("permission denied on the daemon's socket %s: you are not in the group %s, or were not when you logged in. Cure: `sudo usermod -aG %s $USER`. %s", e.path, group, group, newLogin)
	}
	return fmt.Sprintf("permission denied on the daemon's socket %s: you are not in its group, or were not when you logged in (`stat -c %%G %s` names it; usually net-porter). Cure: `sudo usermod -aG net-porter $USER`. %s", e.path, e.path, newLogin)
}

// overflowGID is what the group id reads as that a user namespace does not map
// (user_namespaces(7)).
const overflowGID = 65534

// groupName returns the group's name, its number if it has none, or "" where that
// cannot be known.
func groupName(gid uint32) string {
	if gid == overflowGID {
		return ""
	}
	number := strconv.FormatUint(uint64(gid), 10)
	if group, err := user.LookupGroupId(number); err == nil {
		return group.Name
	}
	return number
}

// plain makes s one line of visible text: what the daemon or a file says goes to a
// terminal.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.Join(strings.Fields(s), " ")
}
