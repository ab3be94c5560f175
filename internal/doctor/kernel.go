package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// kernel looks at what Linux is asked for.
func (e *examination) kernel() {
	e.area = "Kernel"
	major, minor, ok := kernelVersion(e.host.release)
	switch {
	case !ok:
		e.unknown("kernel.version", "cannot tell how old the kernel %s is", quoted(e.host.release))
	case major < 5 || major == 5 && minor < 11:
		e.add(Problem, "kernel.version", "Linux "+e.host.release+" is older than 5.11, which net-porter needs", "upgrade the host's kernel")
	case major == 5 && minor < 16:
		e.ok("kernel.version", `Linux %s: "enforce" of a resource would need 5.16`, e.host.release)
	default:
		e.ok("kernel.version", "Linux %s", e.host.release)
	}
	if e.subject.UID == 0 {
		return
	}
	for _, knob := range []struct{ path, bad, text, remedy string }{
		{"/proc/sys/user/max_user_namespaces", "0", "user namespaces are switched off (user.max_user_namespaces), without which there is no rootless podman", "as root: sysctl user.max_user_namespaces=65536"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "user namespaces are for root alone (kernel.unprivileged_userns_clone), without which there is no rootless podman", "as root: sysctl kernel.unprivileged_userns_clone=1"},
	} {
		if strings.TrimSpace(e.host.read(knob.path)) == knob.bad {
			e.add(Problem, "kernel.userns", knob.text, knob.remedy)
		}
	}
	// Ubuntu lets programs alone that have a profile, and has one for /usr/bin/podman.
	if strings.TrimSpace(e.host.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")) == "1" && e.host.read("/etc/apparmor.d/podman") == "" {
		e.add(Warning, "kernel.apparmor", "AppArmor keeps programs without a profile from user namespaces (kernel.apparmor_restrict_unprivileged_userns), and there is none for podman",
			"install the distribution's podman and apparmor packages, or write /etc/apparmor.d/podman with the permission userns")
	}
}

// kernelVersion is the version of a release (uname(2)), such as 6.12.48+deb13-amd64.
func kernelVersion(release string) (major, minor int, ok bool) {
	digits := func(s string) string {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(s)
		}
		return s[:end]
	}
	first, rest, found := strings.Cut(release, ".")
	major, err := strconv.Atoi(first)
	if err != nil || !found {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(digits(rest))
	return major, minor, err == nil
}

// isOlder says whether a program's version is older than one that is needed.
func isOlder(version string, major, minor int) (older, known bool) {
	m, n, ok := kernelVersion(version)
	return ok && (m < major || m == major && n < minor), ok
}

// versionIn is the first word of a program's answer that begins with a digit.
func versionIn(said string) (string, error) {
	for _, word := range strings.Fields(said) {
		if word[0] >= '0' && word[0] <= '9' {
			return word, nil
		}
	}
	return "", fmt.Errorf("no version is in %s", quoted(said))
}
