package cni

import (
	"context"
	"encoding/json"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// checkExec runs plugins for a CHECK against what the attachment is by now, where that
// is known: a DHCP lease may have changed what ADD's result says.
type checkExec struct {
	pluginExec
	current *types100.Result
}

// ExecPlugin runs one plugin's CHECK.
func (e *checkExec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	return e.pluginExec.ExecPlugin(ctx, path, withResult(stdin, e.current), environ)
}

// withResult puts a result into the place of the recorded one.
func withResult(stdin []byte, current *types100.Result) []byte {
	var conf map[string]json.RawMessage
	if current == nil || json.Unmarshal(stdin, &conf) != nil {
		return stdin
	}
	var version string
	if json.Unmarshal(conf["cniVersion"], &version) != nil {
		return stdin
	}
	result, err := current.GetAsVersion(version)
	if err != nil {
		return stdin
	}
	if conf["prevResult"], err = json.Marshal(result); err != nil {
		return stdin
	}
	changed, err := json.Marshal(conf)
	if err != nil {
		return stdin
	}
	return changed
}
