package cni

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Settings are the part of Options that may change while a Runner is in use.
type Settings struct {
	// PluginDirs, Timeout and DumpEnv are as in Options.
	PluginDirs []string
	Timeout    time.Duration
	DumpEnv    bool
}

func (s Settings) check() error {
	for _, dir := range s.PluginDirs {
		// CNI_PATH is a list with ':' between and no escaping.
		if !filepath.IsAbs(dir) || strings.ContainsAny(dir, ":\x00") {
			return fmt.Errorf("cannot use plugin folder %q: it must be an absolute path without ':'", dir)
		}
	}
	if len(s.PluginDirs) == 0 {
		return errors.New("cannot run CNI plugins: no plugin folder is given")
	}
	if s.Timeout <= 0 {
		return fmt.Errorf("cannot run CNI plugins: a timeout of %s is not positive", s.Timeout)
	}
	return nil
}

// Change has every call that begins from now on go by s; those that run go on as they
// have begun. Nothing changes if it returns an error.
func (r *Runner) Change(s Settings) error {
	if err := s.check(); err != nil {
		return err
	}
	r.current.Store(&s)
	return nil
}

// WithSettings returns the network to be run by s, whatever its Runner's own settings
// are by then: what was checked with a configuration is run with the same one.
func (n *Network) WithSettings(s *Settings) *Network {
	bound := *n
	bound.settings = s
	return &bound
}

// settings are those that a network is run by.
func (r *Runner) settings(n *Network) *Settings {
	if n.settings != nil {
		return n.settings
	}
	return r.current.Load()
}
