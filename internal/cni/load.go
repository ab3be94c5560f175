package cni

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Load reads the configuration of a resource from <dir>/<resource>.conflist, .conf
// or .json, of which exactly one must be there; each may hold a list or a single
// plugin. The folder is the administrator's, so symbolic links in it are followed.
// Plugins that CNI 1.1 would load from a folder beside the file are not loaded.
// ErrNotFound if there is no file, a *ConfigError if it cannot be used.
func Load(dir, resource string) (*Network, error) {
	if !resourcePattern.MatchString(resource) {
		return nil, fmt.Errorf("%w: %s is not a resource name", ErrNotFound, quoteName(resource))
	}
	var found []string
	for _, suffix := range []string{".conflist", ".conf", ".json"} {
		file := filepath.Join(dir, resource+suffix)
		switch _, err := os.Stat(file); {
		case err == nil:
			found = append(found, file)
		case errors.Is(err, fs.ErrNotExist) && !isDanglingLink(file):
		default:
			return nil, fmt.Errorf("cannot read network configuration: %w", err)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%w: %s has no %s.conflist, .conf or .json", ErrNotFound, dir, resource)
	case 1:
	default:
		return nil, &ConfigError{File: found[0], Reason: "there is also " + strings.Join(found[1:], " and ") + "; keep one of them"}
	}
	data, err := readBounded(found[0])
	if err != nil {
		return nil, err
	}
	n, err := parseFile(found[0], resource, data)
	if err != nil {
		return nil, err
	}
	n.file, n.source = found[0], data
	return n, nil
}

// isDanglingLink tells a link to nowhere, which is a mistake to report, from no file at all.
func isDanglingLink(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

func readBounded(file string) ([]byte, error) {
	// O_NONBLOCK: opening a FIFO that was left there must not hang the daemon.
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read network configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read network configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, &ConfigError{File: file, Reason: "it is not a regular file"}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read network configuration: %w", err)
	}
	return data, nil
}
