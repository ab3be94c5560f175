package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/net-porter/net-porter/internal/nearest"
)

// maxPath is PATH_MAX less its NUL: path_resolution(7).
const maxPath = 4095

// maxID is the largest user or group id; the one above, (uid_t)-1, means "no change"
// to chown(2) and its like.
const maxID = 1<<32 - 2

// maxName is the longest user or group name, in bytes. Local ones end at 32
// (useradd(8)); directory services have longer ones.
const maxName = 256

func (r *reader) notOneOf(at *node, text string, names ...string) {
	hint := ""
	if near := nearest.Name(text, names); near != "" {
		hint = "did you mean " + quote(near) + "?"
	}
	last := len(names) - 1
	r.fault(at, hint, "must be %s or %s, not %s", strings.Join(names[:last], ", "), names[last], quote(text))
}

// path takes an absolute path and returns its shortest spelling.
func (r *reader) path(at *node, text string) (string, bool) {
	switch {
	case text == "":
		r.fault(at, "leave the key out to get the default", "is empty")
	case strings.ContainsFunc(text, unicode.IsControl):
		r.fault(at, "", "holds a control character: %s", quote(text))
	case !filepath.IsAbs(text):
		r.fault(at, "write it from the root, starting with '/'", "must be an absolute path, not %s", quote(text))
	case slices.Contains(strings.Split(text, "/"), ".."):
		r.fault(at, "write the path that is meant", `may not contain "..": %s`, quote(text))
	case filepath.Clean(text) == "/":
		r.fault(at, "", "may not be the root directory")
	case len(text) > maxPath:
		r.fault(at, "", "is longer than %d bytes", maxPath)
	default:
		return filepath.Clean(text), true
	}
	return "", false
}

// filePath takes the path of something that is not a directory.
func (r *reader) filePath(at *node, text string) (string, bool) {
	if len(text) > 1 && strings.HasSuffix(text, "/") {
		r.fault(at, "add the file's name", "is the path of a directory: %s", quote(text))
		return "", false
	}
	return r.path(at, text)
}

func (r *reader) pluginDir(at *node, text string) (string, bool) {
	dir, ok := r.path(at, text)
	if ok && strings.Contains(dir, ":") {
		r.fault(at, "make each directory an item of the list", "may not contain ':': %s", quote(text))
		return "", false
	}
	return dir, ok
}

// hostName is RFC 1123 section 2.1, with underscores as they occur.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$`)

// listen takes host:port for a TCP listener; the host may be empty (all addresses),
// an address or a name. Empty means that nothing listens.
func (r *reader) listen(at *node, text string) (string, bool) {
	if text == "" {
		return "", true
	}
	const example = `such as "127.0.0.1:9758" or "[::1]:9758"`
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		r.fault(at, example, "must be host:port, not %s", quote(text))
		return "", false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || !digits(port) {
		r.fault(at, example, "must end in a port from 1 to 65535, unlike %s", quote(text))
		return "", false
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !hostName.MatchString(host) {
		r.fault(at, example, "must start with an address or a host name, unlike %s", quote(text))
		return "", false
	}
	return text, true
}

// resourceGrammar is that of a file's name without its suffix, since a resource's
// conflist is named after it.
var resourceGrammar = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func (r *reader) resourceName(at *node, text string) (string, bool) {
	switch {
	case text == "":
		r.fault(at, "", "is empty")
	case len(text) > 63:
		r.fault(at, "", "is %d bytes long, at most 63 are possible: %s", len(text), quote(text))
	case !resourceGrammar.MatchString(text):
		r.fault(at, "it is the name of a file in cni.config_dir",
			"must be letters, digits, '-', '_' and '.', starting with a letter or digit, not %s", quote(text))
	case strings.Contains(text, ".."):
		r.fault(at, "it is the name of a file in cni.config_dir", `may not contain "..": %s`, quote(text))
	default:
		return text, true
	}
	return "", false
}

// principal takes a user or group. Names are taken as directory services have them,
// with '@', '\', '.' and spaces; what no service can have, or what is another
// program's notation, is refused, because it would silently allow nobody.
func (r *reader) principal(at *node, raw rawPrincipal) (Principal, bool) {
	if raw.numeric {
		return r.id(at, raw.text)
	}
	name := raw.text
	const one = "each name is an item of the list"
	switch {
	case name == "":
		r.fault(at, "", "is empty")
	case len(name) > maxName:
		r.fault(at, "", "is longer than %d bytes", maxName)
	case strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }):
		r.fault(at, "", "holds a character that cannot be seen: %s", quote(name))
	case strings.TrimSpace(name) != name:
		r.fault(at, "remove the space", "starts or ends with a space: %s", quote(name))
	case strings.ContainsAny(name, ":,"):
		r.fault(at, one, "is not the name of a user or group: %s", quote(name))
	case strings.ContainsAny(name, "*?"):
		r.fault(at, "there are no wildcards: put the users in a group and allow the group",
			"is not the name of a user or group: %s", quote(name))
	case strings.ContainsAny(name[:1], "%@&+"):
		r.fault(at, "write the bare name; groups belong in allow_groups", "is not the name of a user or group: %s", quote(name))
	case name[0] == '-' && digits(name[1:]):
		r.fault(at, "", "must be an id from 0 to %d, not %s", maxID, quote(name))
	case name[0] == '-' || name[0] == '~':
		r.fault(at, "", "is not the name of a user or group: %s", quote(name))
	default:
		return Principal{Name: name}, true
	}
	return Principal{}, false
}

func (r *reader) id(at *node, text string) (Principal, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	switch {
	case err != nil || id > maxID:
		r.fault(at, "", "must be a name or an id from 0 to %d, not %s", maxID, shorten(text))
	case len(text) > 1 && text[0] == '0':
		r.fault(at, fmt.Sprintf("ids are decimal; did you mean %d?", id), "starts with a zero: %s", quote(text))
	default:
		return Principal{ID: uint32(id), Numeric: true}, true
	}
	return Principal{}, false
}
