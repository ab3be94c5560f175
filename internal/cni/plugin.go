package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/net-porter/net-porter/internal/faultpoint"
)

// pluginPath is the PATH of plugins: portmap and firewall run nft or iptables.
const pluginPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// pluginExec runs plugins for libcni (invoke.Exec). It has no state of its own.
type pluginExec struct {
	version.PluginDecoder
	runner   *Runner
	settings *Settings
}

// FindInPath looks in the folders of the settings, whatever paths libcni names.
func (e *pluginExec) FindInPath(plugin string, _ []string) (string, error) {
	return findPlugin(plugin, e.settings.PluginDirs)
}

// ExecPlugin runs a plugin and returns its result. Every error is a *PluginError.
func (e *pluginExec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	env := pluginEnv(environ)
	plugin, command := filepath.Base(path), value(env, "CNI_COMMAND")
	if command != "ADD" {
		stdin = withSandbox(stdin, value(env, "CNI_NETNS"))
	}
	if e.settings.DumpEnv {
		e.runner.dump(ctx, plugin, command, env, stdin)
	}
	began := time.Now()
	faultpoint.Hit("before plugin", plugin, command)
	out, err := runProcess(ctx, path, stdin, env)
	faultpoint.Hit("after plugin", plugin, command)
	failure := judge(plugin, command, stdin, out, err)
	e.runner.report(ctx, plugin, command, time.Since(began), out, failure)
	if failure != nil {
		return nil, failure
	}
	return out.stdout, nil
}

// pluginEnv keeps the variables of the CNI spec (section 2, "Parameters") of what
// libcni gives, which begins with the daemon's whole environment.
func pluginEnv(environ []string) []string {
	wanted := []string{"CNI_ARGS", "CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_PATH"}
	env := make([]string, 0, len(wanted)+1)
	for _, name := range wanted {
		env = append(env, name+"="+value(environ, name))
	}
	return append(env, pluginPath)
}

// value returns the value of a variable, the last one if there are several.
func value(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			return v
		}
	}
	return ""
}

// judge tells a success from the ways to fail.
func judge(plugin, command string, stdin []byte, out outcome, err error) error {
	failure := &PluginError{Plugin: plugin, Command: command, Stderr: out.stderr.tail(reportedStderr), cause: err}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		failure.TimedOut = true
		failure.Message = "it did not end in time and was killed"
	case errors.Is(err, context.Canceled):
		failure.Message = "it was killed because the request was given up"
	case err != nil:
		var exit *exec.Error
		failure.Message = "it cannot be started: " + oneLine(err.Error())
		if errors.As(err, &exit) {
			failure.Message = "it cannot be started: " + oneLine(exit.Err.Error())
		}
	case out.overflow:
		failure.Message = fmt.Sprintf("it printed more than %d bytes and was killed", maxStdout)
	case !out.state.Success():
		failure.explain(out)
	case command == "ADD":
		if failure.Message = resultFault(stdin, out.stdout); failure.Message == "" {
			return nil
		}
	default:
		return nil
	}
	return failure
}

// explain fills in what a plugin said that ended with an error: CNI's JSON, or else
// the end of what it printed.
func (e *PluginError) explain(out outcome) {
	var said types.Error
	if json.Unmarshal(out.stdout, &said) == nil && (said.Msg != "" || said.Code != 0) {
		e.Code, e.Message, e.Details = said.Code, oneLine(said.Msg), oneLine(said.Details)
		if e.Message == "" {
			e.Message = fmt.Sprintf("error code %d", said.Code)
		}
		return
	}
	e.Message = out.state.String()
	last := out.stdout
	if len(bytes.TrimSpace(last)) == 0 {
		last = []byte(e.Stderr)
	}
	if last = bytes.TrimSpace(last); len(last) > 0 {
		e.Details = "it said: " + oneLine(string(last[max(0, len(last)-maxMessage):]))
	}
}

// resultFault says what is wrong with what a plugin printed as ADD's result, "" if nothing is.
func resultFault(stdin, stdout []byte) string {
	if len(bytes.TrimSpace(stdout)) == 0 {
		return "it ended well but printed no result"
	}
	var result map[string]json.RawMessage
	if err := json.Unmarshal(stdout, &result); err != nil || result == nil {
		return "it ended well but printed no CNI result: " + oneLine(string(stdout[:min(len(stdout), maxMessage)]))
	}
	var conf, said struct {
		CNIVersion string `json:"cniVersion"`
	}
	_ = json.Unmarshal(stdin, &conf)
	if err := json.Unmarshal(stdout, &said); err != nil {
		return "its result cannot be used: " + oneLine(err.Error())
	}
	if said.CNIVersion == "" {
		// libcni takes the configuration's version for a result without one.
		said.CNIVersion = conf.CNIVersion
		result["cniVersion"], _ = json.Marshal(conf.CNIVersion)
		stdout, _ = json.Marshal(result)
	}
	if _, err := create.Create(said.CNIVersion, stdout); err != nil {
		return "its result cannot be used: " + oneLine(err.Error())
	}
	return ""
}

// dump logs what a plugin is about to be given.
func (r *Runner) dump(ctx context.Context, plugin, command string, env []string, stdin []byte) {
	var vars []any
	for _, entry := range env {
		if name, v, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "CNI_") {
			vars = append(vars, slog.String(name, v))
		}
	}
	r.options.Logger.InfoContext(ctx, "running CNI plugin", "plugin", plugin, "command", command,
		slog.Group("env", vars...), slog.Any("config", json.RawMessage(stdin)))
}

// report tells of a run that is over. A failure is not logged here, but where it
// is known whom it concerns.
func (r *Runner) report(ctx context.Context, plugin, command string, took time.Duration, out outcome, err error) {
	log := r.options.Logger.With("plugin", plugin, "command", command)
	if out.escaped {
		log.WarnContext(ctx, "CNI plugin left a process behind that holds its output")
	}
	if len(out.stderr.data) > 0 {
		log.DebugContext(ctx, "CNI plugin wrote to stderr", "stderr", string(out.stderr.data))
	}
	if r.options.Observe != nil {
		r.options.Observe(plugin, command, took, err)
	}
}
