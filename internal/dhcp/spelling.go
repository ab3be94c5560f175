package dhcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// KnownArgs are those of CNI_ARGS that a "fromArg" may name.
func KnownArgs() []string {
	return []string{"K8S_POD_NAME", "K8S_POD_NAMESPACE", "K8S_POD_INFRA_CONTAINER_ID", "NET_PORTER_HOSTNAME"}
}

// plainly says what a value of the wrong type should be, without Go's words for it.
func plainly(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	want := "another kind of value"
	switch wrong.Type.Kind().String() {
	case "bool":
		want = "true or false"
	case "int":
		want = "a number"
	case "string":
		want = "a string in double quotes"
	case "slice":
		want = "a list"
	case "struct", "ptr":
		want = "an object"
	}
	return fmt.Errorf("%s must be %s, not this %s", wrong.Field, want, wrong.Value)
}

// checkSpelling finds our own keys of "ipam" misspelt, or in another place: CNI passes
// over keys that it does not know.
func checkSpelling(stdin []byte) error {
	var conf map[string]json.RawMessage
	var ipam map[string]json.RawMessage
	if json.Unmarshal(stdin, &conf) != nil || json.Unmarshal(conf["ipam"], &ipam) != nil {
		return nil // parseRequest has said so
	}
	for key := range ipam {
		if strings.HasPrefix(strings.ToLower(key), "ip") && key != "ipv4" && key != "ipv6" {
			return fmt.Errorf("ipam: %w: there is no key %.64q; did you mean \"ipv6\" or \"ipv4\"?", ErrInvalid, key)
		}
	}
	for _, key := range []string{"ipv4", "ipv6"} {
		if _, misplaced := conf[key]; misplaced {
			return fmt.Errorf("%q: %w: it belongs into \"ipam\"", key, ErrInvalid)
		}
	}
	return nil
}
