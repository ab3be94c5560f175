package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/net-porter/net-porter/internal/plugin"
)

// The first podman and netavark that have plugins.
const (
	podmanMajor, podmanMinor     = 4, 5
	netavarkMajor, netavarkMinor = 1, 6
)

// Where podman looks for netavark (containers.conf(5), helper_binaries_dir), and netavark for
// its plugins (netavark_plugin_dirs).
func netavarkDirs() []string {
	return append(plugin.NetavarkDirs(), "/usr/bin")
}

func pluginDirs() []string {
	return []string{"/usr/local/libexec/netavark", "/usr/libexec/netavark", "/usr/local/lib/netavark", "/usr/lib/netavark"}
}

// podman looks at the versions of podman and netavark, and at what they are set to by the
// texts of containers.conf.
func (e *examination) podman(ctx context.Context, conf []string) {
	e.area = "Podman"
	path := "/usr/bin/podman"
	if !e.host.asRoot {
		if found, err := exec.LookPath("podman"); err == nil {
			path = found
		}
	}
	e.programVersion(ctx, "podman", path, podmanMajor, podmanMinor, "install podman 4.5 or later (Debian 13, Ubuntu 24.04, Fedora, RHEL 9 have it)")
	if path := e.host.first(in(dirsOf(conf, helperSetting, netavarkDirs()), "netavark")); path != "" {
		e.programVersion(ctx, "netavark", path, netavarkMajor, netavarkMinor, "install netavark 1.6 or later")
	} else {
		e.add(Problem, "podman.netavark", "there is no netavark on this host, which podman has network plugins of", "install the package netavark")
	}
	// Podman 4 keeps to what it once began with, where nothing is configured.
	storage := "/var/lib/containers/storage"
	if e.subject.UID != 0 {
		storage = filepath.Join(e.subject.home, ".local/share/containers/storage")
	}
	kept := filepath.Join(storage, "defaultNetworkBackend")
	switch backend := lastSetting(conf, networkBackend); {
	case backend == "" && strings.TrimSpace(e.host.read(kept)) == "cni":
		e.add(Problem, "podman.backend", "podman has begun with CNI networks, which know no plugins of netavark, and keeps to them ("+kept+")",
			`network_backend = "netavark" below [network] in containers.conf, then podman system reset, which removes all containers and images of `+e.subject.name)
	case backend == "cni":
		e.add(Problem, "podman.backend", `podman is set to CNI networks (network_backend = "cni" in containers.conf), which know no plugins of netavark`, `network_backend = "netavark", then podman system reset, which removes all containers and images of `+e.subject.name)
	}
}

// programVersion looks at a program's version. None that is there is a problem for who has
// containers, and so for root who looks for somebody else.
func (e *examination) programVersion(ctx context.Context, name, path string, major, minor int, remedy string) {
	id := "podman." + name
	if _, err := os.Stat(e.host.path(path)); err != nil {
		e.add(Problem, id, "there is no "+name+" at "+path, remedy)
		return
	}
	said, err := e.host.ask(ctx, path, "--version")
	if err != nil {
		e.unknown(id, "cannot tell which %s this is: %v", name, err)
		return
	}
	version, err := versionIn(said)
	if err != nil {
		e.unknown(id, "cannot tell which %s %s is: %v", name, path, err)
		return
	}
	switch older, known := isOlder(version, major, minor); {
	case !known:
		e.unknown(id, "cannot tell how old %s %s is", name, quoted(version))
	case older:
		e.add(Problem, id, fmt.Sprintf("%s %s (%s) knows no network plugins: %d.%d is the first that does", name, version, path, major, minor), remedy)
	default:
		e.ok(id, "%s %s", name, version)
	}
}

func in(dirs []string, name string) (paths []string) {
	for _, dir := range dirs {
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths
}

var (
	networkBackend = regexp.MustCompile(`(?m)^\s*network_backend\s*=\s*"([^"]*)"`)
	pluginSetting  = regexp.MustCompile(`(?m)^\s*netavark_plugin_dirs\s*=\s*\[([^\]]*)\]`)
	helperSetting  = regexp.MustCompile(`(?m)^\s*helper_binaries_dir\s*=\s*\[([^\]]*)\]`)
	appends        = regexp.MustCompile(`\{\s*append\s*=\s*(true|false)\s*\}`)
	tomlString     = regexp.MustCompile(`"([^"\\]*)"`)
)

// maxParts bounds how many entries of a containers.conf.d are looked at.
const maxParts = 100

// containersConf are the files of containers.conf(5), the last one goes before the others.
func (e *examination) containersConf() []string {
	roots := []string{"/usr/share/containers", "/etc/containers"}
	if e.subject.UID != 0 && filepath.IsAbs(e.subject.home) {
		own := e.subject.config
		if !filepath.IsAbs(own) {
			own = filepath.Join(e.subject.home, ".config")
		}
		roots = append(roots, filepath.Join(own, "containers"))
	}
	var files []string
	for _, root := range roots {
		files = append(files, filepath.Join(root, "containers.conf"))
		files = append(files, e.host.list(filepath.Join(root, "containers.conf.d"), ".conf", maxParts)...)
	}
	var texts []string
	for _, file := range files {
		if text := e.host.read(file); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

// lastSetting is what the last of some files says, "" for nothing.
func lastSetting(texts []string, setting *regexp.Regexp) (value string) {
	for _, text := range texts {
		if m := setting.FindStringSubmatch(text); m != nil {
			value = m[1]
		}
	}
	return value
}

// dirsOf are the folders of a list of containers.conf(5): what a file has takes the place of
// what was before it, or with {append=true} comes after that, also in the files that follow.
func dirsOf(texts []string, setting *regexp.Regexp, dirs []string) []string {
	add := false
	for _, text := range texts {
		m := setting.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		if a := appends.FindStringSubmatch(m[1]); a != nil {
			add = a[1] == "true"
		}
		if !add {
			dirs = nil
		}
		for _, m := range tomlString.FindAllStringSubmatch(m[1], -1) {
			dirs = append(dirs, m[1])
		}
	}
	return dirs
}

// plugin looks whether netavark finds the plugin, and which one.
func (e *examination) plugin(ctx context.Context, conf []string) {
	dirs := dirsOf(conf, pluginSetting, pluginDirs())
	paths := in(dirs, "net-porter")
	path := e.host.first(paths)
	if path == "" {
		e.add(Problem, "podman.plugin", "netavark finds no plugin net-porter in "+strings.Join(dirs, ", "),
			"install net-porter's package; or netavark_plugin_dirs of containers.conf leaves /usr/lib/netavark out")
		return
	}
	if said, err := e.host.ask(ctx, path, "info"); err != nil {
		e.add(Unknown, "podman.plugin", fmt.Sprintf("cannot ask the plugin %s for its version: %v", path, err), "")
	} else if m := pluginVersion.FindStringSubmatch(said); m == nil {
		e.add(Problem, "podman.plugin", fmt.Sprintf("%s is not net-porter's plugin: it says %s", path, quoted(said)), "remove it, or put net-porter's in its place")
	} else if e.version != "" && m[1] != e.version {
		e.add(Warning, "podman.plugin", fmt.Sprintf("the plugin %s is version %s, and the daemon %s", path, m[1], e.version), "install the same version of both; an own copy before the package's hides that")
	} else {
		e.ok("podman.plugin", "netavark finds the plugin %s (version %s)", path, m[1])
	}
}

var pluginVersion = regexp.MustCompile(`"version"\s*:\s*"([^"]*)"`)

// printable is a text without what a terminal would take for an order.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
