package cni

import (
	"bytes"
	"encoding/json"
)

// goneSandbox stands for a namespace that is no more. No process has the number 0,
// so that nothing can be opened by it.
const goneSandbox = "/proc/0/ns/net"

// withSandbox puts the namespace's path of today into the recorded result that
// CHECK and DEL hand to plugins. The recorded one is a descriptor number of the time
// of ADD: plugins refuse one that differs from CNI_NETNS, and by now it may be
// another container's.
func withSandbox(stdin []byte, netns string) []byte {
	var conf map[string]json.RawMessage
	if json.Unmarshal(stdin, &conf) != nil || conf["prevResult"] == nil {
		return stdin
	}
	dec := json.NewDecoder(bytes.NewReader(conf["prevResult"]))
	dec.UseNumber()
	var result map[string]any
	if dec.Decode(&result) != nil {
		return stdin
	}
	if netns == "" {
		netns = goneSandbox
	}
	interfaces, _ := result["interfaces"].([]any)
	for _, value := range interfaces {
		if link, ok := value.(map[string]any); ok && text(link, "sandbox") != "" {
			link["sandbox"] = netns
		}
	}
	var err error
	if conf["prevResult"], err = json.Marshal(result); err != nil {
		return stdin
	}
	changed, err := json.Marshal(conf)
	if err != nil {
		return stdin
	}
	return changed
}
