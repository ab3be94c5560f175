package nss

import (
	"fmt"
	"strconv"
	"strings"
)

// parseUser parses a line of passwd(5): name:password:uid:gid:gecos:home:shell.
func parseUser(line string) (User, error) {
	fields, err := split(line, 7)
	if err != nil {
		return User{}, err
	}
	uid, err := parseID(fields[2])
	if err != nil {
		return User{}, err
	}
	gid, err := parseID(fields[3])
	if err != nil {
		return User{}, err
	}
	return User{Name: fields[0], UID: uid, GID: gid}, nil
}

// parseGroup parses a line of group(5): name:password:gid:members.
func parseGroup(line string) (Group, error) {
	fields, err := split(line, 4)
	if err != nil {
		return Group{}, err
	}
	gid, err := parseID(fields[2])
	if err != nil {
		return Group{}, err
	}
	return Group{Name: fields[0], GID: gid}, nil
}

func split(line string, want int) ([]string, error) {
	fields := strings.Split(line, ":")
	if len(fields) != want {
		return nil, fmt.Errorf("it has %d fields, not %d", len(fields), want)
	}
	if fields[0] == "" {
		return nil, fmt.Errorf("it has no name")
	}
	return fields, nil
}

// parseID takes a user or group id. The largest 32-bit number is none: it means "no
// change" to chown(2) and its like. Digits only, so that "-0" is not root.
func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || id == 1<<32-1 {
		return 0, fmt.Errorf("%.20q is not an id", text)
	}
	return uint32(id), nil
}
