package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// membership looks whether the subject may connect to the socket: by the groups of the
// session, which are those of its login, and not those of today's group database.
func (e *examination) membership(ctx context.Context) {
	e.area = "Access"
	var st unix.Stat_t
	if err := unix.Stat(e.host.path(e.o.Socket), &st); err != nil {
		e.unknown("access.socket", "who may connect to %s cannot be told while it is not there", e.o.Socket)
		return
	}
	s := &e.subject
	group := e.groupName(ctx, st.Gid)
	switch {
	case s.UID == 0 || st.Uid == s.UID && st.Mode&0o600 == 0o600 || st.Mode&0o006 == 0o006:
		e.ok("access.socket", "%s may connect to %s", s.name, e.o.Socket)
		return
	case st.Mode&0o060 != 0o060:
		e.add(Problem, "access.socket", fmt.Sprintf("%s is for its owner alone (mode %04o)", e.o.Socket, st.Mode&0o777),
			"as root: SocketMode=0660 and SocketGroup=net-porter by systemctl edit "+socketUnit)
		return
	case !slices.Contains(s.groups, st.Gid) && !slices.Contains(s.session, st.Gid):
		e.add(Problem, "access.group", fmt.Sprintf("%s is not in the group %s, which may connect to %s", s.name, group, e.o.Socket),
			fmt.Sprintf("as root: usermod -aG %s %s; then %s logs out and in again", group, s.name, s.name))
		return
	case s.session != nil && !slices.Contains(s.session, st.Gid):
		e.add(Problem, "access.session", fmt.Sprintf("%s is in the group %s, and this session is from before that", s.name, group),
			"log out and in again, or for this shell alone: newgrp "+group)
	case e.refused:
		e.add(Problem, "access.refused", fmt.Sprintf("%s may connect to %s by its mode, and the kernel refuses it all the same", s.name, e.o.Socket),
			"as root: a security module forbids it (ausearch -m avc -ts recent, journalctl -k -g apparmor), or an access list (getfacl "+e.o.Socket+")")
		return
	default:
		e.ok("access.group", "%s is in the group %s, which may connect to %s", s.name, group, e.o.Socket)
	}
	e.managers(st.Gid, group)
}

// managers looks at the subject's systemd, which starts Quadlets with the groups that it
// was started with itself, and outlives logins where lingering is enabled.
func (e *examination) managers(gid uint32, group string) {
	uid := strconv.FormatUint(uint64(e.subject.UID), 10)
	processes, _ := filepath.Glob(e.host.path("/proc/[0-9]*/status"))
	for _, status := range processes {
		text, err := os.ReadFile(status)
		if err != nil {
			continue // it has ended
		}
		fields := statusFields(string(text))
		if len(fields["Name"]) == 0 || fields["Name"][0] != "systemd" || len(fields["Uid"]) == 0 || fields["Uid"][0] != uid {
			continue
		}
		// The primary group is often not among the others.
		if !slices.Contains(slices.Concat(fields["Groups"], fields["Gid"]), strconv.FormatUint(uint64(gid), 10)) {
			e.add(Problem, "access.manager", fmt.Sprintf("%s's user manager is from before %[1]s was in the group %s, so that Quadlets and other user services cannot connect", e.subject.name, group),
				fmt.Sprintf("as root: systemctl restart user@%s.service (it stops %s's services and containers)", uid, e.subject.name))
			return
		}
	}
}

// statusFields are the fields of /proc/<pid>/status (proc_pid_status(5)).
func statusFields(text string) map[string][]string {
	fields := map[string][]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.Fields(value)
		}
	}
	return fields
}

func (e *examination) groupName(ctx context.Context, gid uint32) string {
	if g, err := e.names.GroupByID(ctx, gid); err == nil {
		return g.Name
	}
	return fmt.Sprintf("of number %d", gid)
}

// session looks at what containers of a user need who has logged out.
func (e *examination) session() {
	s := &e.subject
	if s.UID == 0 {
		return
	}
	e.area = "User"
	if st, err := os.Stat(e.host.path(s.runtime)); s.self && (s.runtime == "" || err != nil || !st.IsDir()) {
		e.add(Warning, "user.session", "this is no session of a login, as after su or sudo (XDG_RUNTIME_DIR is not set, or not there): podman keeps other state than in one, or does not start",
			"log in by ssh or at the console; or as root: machinectl shell "+s.name+"@")
	}
	if _, err := os.Stat(e.host.path("/var/lib/systemd/linger/" + s.Name)); s.Name != "" && err == nil {
		e.ok("user.linger", "%s's containers stay when %[1]s logs out (lingering is enabled)", s.name)
	} else {
		e.add(Warning, "user.linger", fmt.Sprintf("%s's containers are killed when %[1]s logs out, and do not start with the host", s.name), "loginctl enable-linger "+s.name)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		id := "user." + filepath.Base(file)
		if e.hasRange(file) {
			e.ok(id, "%s has a range in %s", s.name, file)
		} else {
			e.add(Warning, id, fmt.Sprintf("%s has no range in %s, without which rootless podman runs images of one user alone", s.name, file),
				fmt.Sprintf("as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s, with a range that is nobody's yet; or a subid source of nsswitch.conf has it", s.name))
		}
	}
}

// hasRange says whether a file of subuid(5) has a range of the subject's.
func (e *examination) hasRange(file string) bool {
	for line := range strings.Lines(e.host.read(file)) {
		who, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if who != "" && (who == e.subject.Name || who == strconv.FormatUint(uint64(e.subject.UID), 10)) {
			return true
		}
	}
	return false
}

// homeOf is the home of a user of /etc/passwd, "" if that does not have them.
func homeOf(passwd, name string) string {
	for line := range strings.Lines(passwd) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); len(fields) == 7 && fields[0] == name {
			return fields[5]
		}
	}
	return ""
}
