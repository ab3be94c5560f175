package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Check looks up every plugin of the chain, and every IPAM plugin that one names,
// in the plugin folders, so that a chain that cannot end is not begun. All that is
// wrong is reported at once, as ErrPluginMissing or ErrPluginUnsafe.
func (n *Network) Check(dirs []string) error {
	var errs []error
	for _, name := range slices.Concat(n.Types(), n.IPAMTypes()) {
		if _, err := findPlugin(name, dirs); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// CheckParents refuses "linkInContainer": what hangs on a link of the container's own is
// not on the LAN, and which link that is would be the container's choice. The error is a
// *ConfigError. Parse takes such a chain, since one that was run once has to be removable.
func (n *Network) CheckParents() error {
	i := slices.IndexFunc(n.chain, func(l link) bool { return l.inside })
	if i < 0 {
		return nil
	}
	fault := &ConfigError{File: n.file, Reason: fmt.Sprintf(
		`%s has "linkInContainer": true, so that its parent link would be looked for in the container, which has none of the host's: take the key out`, n.chain[i].pluginType)}
	fault.Line, fault.Column = n.place([]string{"plugins", strconv.Itoa(i), "linkInContainer"})
	return fault
}

// findPlugin returns the absolute path of a plugin: the first regular file of that
// name. Main plugins look up their IPAM plugin in CNI_PATH by the same rule, so
// that what is checked here is also what they run.
func findPlugin(name string, dirs []string) (string, error) {
	if !isFileName(name) {
		return "", fmt.Errorf("%w: %s is not a plain file name", ErrPluginMissing, quoteName(name))
	}
	for _, dir := range dirs {
		switch err := checkDir(dir); {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", err
		}
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if info.Mode()&0o111 == 0 {
			return "", fmt.Errorf("%w: %s is not executable", ErrPluginUnsafe, path)
		}
		return path, checkOwner(path, info)
	}
	return "", fmt.Errorf("%w: %q is in none of %s; install it, or correct cni.plugin_dirs", ErrPluginMissing, name, strings.Join(dirs, ", "))
}

// checkDir refuses a folder in which somebody other than root could put a plugin,
// also by way of a folder above it, of the path as written and as resolved.
func checkDir(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for _, path := range []string{dir, real} {
		for above := path; ; above = filepath.Dir(above) {
			info, err := os.Stat(above)
			if err != nil {
				return err
			}
			// In a sticky folder such as /tmp nobody can replace what root owns.
			if above == path || info.Mode()&fs.ModeSticky == 0 {
				if err := checkOwner(above, info); err != nil {
					return err
				}
			}
			if above == filepath.Dir(above) {
				break
			}
		}
	}
	return nil
}

func checkOwner(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: %s is not owned by root", ErrPluginUnsafe, path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%w: %s can be written by its group or by others; chmod go-w %s", ErrPluginUnsafe, path, path)
	}
	return nil
}
