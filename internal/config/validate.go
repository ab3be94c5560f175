package config

import (
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"time"
)

// sunPath is the longest path that a socket address holds, in bytes, with its
// closing NUL taken off: unix(7).
const sunPath = 107

// dhcpSocket is the longest name of a socket in the state directory.
const dhcpSocket = "/dhcp.sock"

// checked returns what check makes of a value, or the default when the value was
// left out or is at fault.
func checked[T, U any](v value[T], fallback U, check func(at *node, what T) (U, bool)) U {
	if !v.ok {
		return fallback
	}
	if u, ok := check(v.at, v.what); ok {
		return u
	}
	return fallback
}

func (r *reader) config(raw rawConfig) *Config {
	timeout := r.cniTimeout(raw.cni.what.timeout)
	return &Config{
		Socket:    r.socket(raw.socket.what),
		Metrics:   r.metrics(raw.metrics.what),
		CNI:       r.cni(raw.cni.what, timeout.what),
		StateDir:  checked(raw.stateDir, DefaultStateDir, r.stateDir),
		Resources: r.resources(raw.resources.what, timeout),
		Limits:    r.limits(raw.limits.what),
		Log:       r.log(raw.log.what),

		MaxAttachmentsPerUser: checked(raw.maxAttachmentsPerUser, 0, r.quota),
	}
}

func (r *reader) socket(raw rawSocket) Socket {
	id := func(at *node, p rawPrincipal) (string, bool) {
		checked, ok := r.principal(at, p)
		return checked.String(), ok
	}
	return Socket{
		Path:  checked(raw.path, DefaultSocketPath, r.filePath),
		User:  checked(raw.user, DefaultSocketUser, id),
		Group: checked(raw.group, DefaultSocketGroup, id),
		Mode:  checked(raw.mode, DefaultSocketMode, r.socketMode),
	}
}

// socketMode takes the mode of a socket, of which connect(2) needs the write bit only.
// Write for others is allowed: who may do what is decided by the caller's identity.
func (r *reader) socketMode(at *node, text string) (fs.FileMode, bool) {
	mode, err := strconv.ParseUint(text, 8, 32)
	switch {
	case err != nil || len(text) < 3 || len(text) > 4 || !digits(text):
		r.fault(at, `such as "0660"`, "must be three or four octal digits, not %s", quote(text))
	case mode&^0o666 != 0:
		r.fault(at, fmt.Sprintf(`did you mean "%04o"?`, mode&0o666), "may hold read and write bits only, not %s", quote(text))
	case mode&0o600 != 0o600:
		r.fault(at, fmt.Sprintf(`did you mean "%04o"?`, mode|0o600), "must let the owner read and write, unlike %s", quote(text))
	default:
		return fs.FileMode(mode), true
	}
	return 0, false
}

func (r *reader) metrics(raw rawMetrics) Metrics {
	return Metrics{
		Listen:        checked(raw.listen, "", r.listen),
		WebConfigFile: checked(raw.webConfigFile, "", r.filePath),
	}
}

func (r *reader) cni(raw rawCNI, timeout time.Duration) CNI {
	return CNI{
		ConfigDir:  checked(raw.configDir, DefaultCNIConfigDir, r.path),
		PluginDirs: checked(raw.pluginDirs, DefaultPluginDirs(), r.pluginDirs),
		Timeout:    timeout,
	}
}

func (r *reader) pluginDirs(at *node, raw []value[string]) ([]string, bool) {
	if len(at.items) == 0 {
		r.fault(at, "leave the key out to get the default", "is empty, so that no plugin would be found")
		return nil, false
	}
	var dirs []string
	seen := make(map[string]bool)
	for _, item := range raw {
		dir, ok := r.pluginDir(item.at, item.what)
		switch {
		case !ok:
		case seen[dir]:
			r.fault(item.at, "", "is in the list already: %s", quote(dir))
		default:
			seen[dir] = true
			dirs = append(dirs, dir)
		}
	}
	return dirs, true
}

// cniTimeout returns cni.timeout as it is, written or not, since other values are
// bounded by it. It is not ok when it is at fault: then nothing else is for its sake.
func (r *reader) cniTimeout(raw value[string]) value[time.Duration] {
	if raw.at == nil {
		return value[time.Duration]{ok: true, what: DefaultCNITimeout}
	}
	timeout := value[time.Duration]{at: raw.at}
	if raw.ok {
		timeout.what, timeout.ok = r.between(raw.at, raw.what, MinCNITimeout, MaxCNITimeout)
	}
	return timeout
}

// between takes a duration in Go's notation, which is that of time.ParseDuration.
func (r *reader) between(at *node, text string, least, most time.Duration) (time.Duration, bool) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		hint := `a number and its unit, such as "30s" or "1m30s"`
		if digits(text) {
			hint = fmt.Sprintf(`%q for seconds`, text+"s")
		}
		r.fault(at, hint, "is not a duration: %s", quote(text))
	case d < least || d > most:
		r.fault(at, "", "must be from %s to %s, not %s", least, most, quote(text))
	default:
		return d, true
	}
	return 0, false
}

func (r *reader) stateDir(at *node, text string) (string, bool) {
	dir, ok := r.path(at, text)
	if !ok {
		return "", false
	}
	if most := sunPath - len(dhcpSocket); len(dir) > most {
		r.fault(at, "the address of a unix socket is that short",
			"is %d bytes long; at most %d fit, since sockets are made in it", len(dir), most)
		return "", false
	}
	return dir, true
}

func (r *reader) log(raw rawLog) Log {
	return Log{
		Level:   checked(raw.level, DefaultLogLevel, r.level),
		Format:  checked(raw.format, DefaultLogFormat, r.format),
		DumpEnv: raw.dumpEnv.what.enabled.what,
	}
}

func (r *reader) level(at *node, text string) (slog.Level, bool) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	level, ok := levels[text]
	if !ok {
		r.notOneOf(at, text, "debug", "info", "warn", "error")
	}
	return level, ok
}

func (r *reader) format(at *node, text string) (string, bool) {
	if text != "text" && text != "json" {
		r.notOneOf(at, text, "text", "json")
		return "", false
	}
	return text, true
}
