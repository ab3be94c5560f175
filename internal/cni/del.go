package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// errIncomplete stops libcni at the end of a DEL that had failures, so that it
// keeps the recorded result for the next try.
var errIncomplete = errors.New("not everything was removed")

// delExec keeps libcni going through a DEL: it gathers errors in place of
// returning them, until the last plugin. It is for one call of one goroutine.
type delExec struct {
	pluginExec
	left int // plugins not run yet
	errs []error
}

// FindInPath gathers what is wrong and returns no path, which ExecPlugin understands.
func (e *delExec) FindInPath(plugin string, paths []string) (string, error) {
	path, err := e.pluginExec.FindInPath(plugin, paths)
	if err != nil {
		e.errs = append(e.errs, err)
		return "", nil
	}
	return path, nil
}

// ExecPlugin runs one plugin's DEL within its share of the time that is left.
func (e *delExec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	share, cancel := e.share(ctx)
	defer cancel()
	e.left--
	if err := e.remove(share, path, stdin, environ); err != nil {
		e.errs = append(e.errs, err)
	}
	if e.left == 0 && len(e.errs) > 0 {
		return nil, errIncomplete
	}
	return nil, nil
}

// share gives each plugin that is left an equal part of the time, so that one that
// hangs does not keep the others, IPAM's among them, from being run.
func (e *delExec) share(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || e.left < 1 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(e.left))
}

func (e *delExec) remove(ctx context.Context, path string, stdin []byte, environ []string) error {
	var conf struct {
		Type string `json:"type"`
		IPAM struct {
			Type string `json:"type"`
		} `json:"ipam"`
	}
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return fmt.Errorf("cannot read the configuration of plugin %s: %w", filepath.Base(path), err)
	}
	ipam := ""
	if conf.IPAM.Type != "" {
		// The main plugin runs it by its name, so it is checked before.
		found, err := findPlugin(conf.IPAM.Type, e.settings.PluginDirs)
		if errors.Is(err, ErrPluginUnsafe) {
			return err
		}
		ipam = found
	}
	gone := value(environ, "CNI_NETNS") == ""
	if gone && needsNamespace(conf.Type) {
		return e.releaseAddress(ctx, ipam, conf.IPAM.Type, stdin, environ)
	}
	var err error
	if path != "" {
		if _, err = e.pluginExec.ExecPlugin(ctx, path, stdin, environ); err == nil {
			return nil
		}
	}
	if gone {
		// The interface went with its namespace: nobody can be using the address.
		return errors.Join(err, e.releaseAddress(ctx, ipam, conf.IPAM.Type, stdin, environ))
	}
	return err
}

// releaseAddress runs the IPAM plugin as the main plugin would have.
func (e *delExec) releaseAddress(ctx context.Context, ipam, name string, stdin []byte, environ []string) error {
	switch {
	case name == "":
		return nil
	case ipam == "":
		_, err := findPlugin(name, e.settings.PluginDirs)
		return err
	}
	_, err := e.pluginExec.ExecPlugin(ctx, ipam, stdin, environ)
	return err
}

// unseen is an error of libcni's own, nil for the one that stands for those gathered.
func (e *delExec) unseen(err error) error {
	if errors.Is(err, errIncomplete) {
		return nil
	}
	return err
}

// needsNamespace names the plugins (v1.9.1) whose DEL without a namespace fails, or
// does not release the address: sbr has nothing else to undo; host-device leaves its
// IPAM alone; vlan and ipvlan first want their parent link, and then only call IPAM.
func needsNamespace(pluginType string) bool {
	switch pluginType {
	case "sbr", "host-device", "vlan", "ipvlan":
		return true
	}
	return false
}
