package cni

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Invocation is what a chain is run for: one interface of one container.
type Invocation struct {
	// ContainerID is "<uid>.<container id>", so that no user can name another's.
	ContainerID string
	// Interface is the name inside the container: 1 to 15 of [a-zA-Z0-9._-].
	Interface string
	// NetNS is "/proc/<pid>/fd/<n>", a descriptor that the caller keeps open until
	// the call returns. Empty, for Del only, if the namespace is gone.
	NetNS string
	// Args are the CNI_ARGS beside IgnoreUnknown=1. CNI knows no escaping: a value
	// with ';', '=' or a control character is refused.
	Args [][2]string
	// CapabilityArgs reach the plugins that declare the capability ("portMappings",
	// "mac", "ips"...). If nil, Del and Check use those of ADD.
	CapabilityArgs map[string]any
	// Current, for Check only, is what ADD's result has become; nil: as it was.
	Current *types100.Result
}

// ignoreUnknown is the one of CNI_ARGS without which a plugin that does not know
// K8S_POD_NAME refuses it.
const ignoreUnknown = "IgnoreUnknown"

var (
	containerIDPattern = regexp.MustCompile(`^[0-9]{1,10}\.[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)
	interfacePattern   = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,15}$`)
	netnsPattern       = regexp.MustCompile(`^/proc/[1-9][0-9]{0,9}/fd/[0-9]{1,10}$`)
	argKeyPattern      = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,63}$`)
)

// maxArg is the length in bytes that the value of one of CNI_ARGS may have.
const maxArg = 4096

// validate checks everything for every command: libcni checks nothing for DEL and
// CHECK, where a container id with "../" would name other files.
func (inv Invocation) validate(command string) error {
	if !containerIDPattern.MatchString(inv.ContainerID) {
		return fmt.Errorf("%w: container id %s is not <uid>.<container id>", ErrInvalidInvocation, quoteName(inv.ContainerID))
	}
	if !interfacePattern.MatchString(inv.Interface) || inv.Interface == "." || inv.Interface == ".." {
		return fmt.Errorf("%w: interface name %s must be 1 to 15 letters, digits, '.', '_' or '-'", ErrInvalidInvocation, quoteName(inv.Interface))
	}
	if !netnsPattern.MatchString(inv.NetNS) && (inv.NetNS != "" || command != "DEL") {
		return fmt.Errorf("%w: network namespace %s is not /proc/<pid>/fd/<n>", ErrInvalidInvocation, quoteName(inv.NetNS))
	}
	seen := map[string]bool{ignoreUnknown: true}
	for _, arg := range inv.Args {
		key, value := arg[0], arg[1]
		if !argKeyPattern.MatchString(key) || seen[key] {
			return fmt.Errorf("%w: %s is not a key of CNI_ARGS, or is there twice", ErrInvalidInvocation, quoteName(key))
		}
		seen[key] = true
		if !isArgValue(value) {
			return fmt.Errorf("%w: value %s of %s in CNI_ARGS has a ';', a '=' or a control character, or is longer than %d bytes", ErrInvalidInvocation, quoteName(value), key, maxArg)
		}
	}
	return nil
}

func isArgValue(value string) bool {
	return len(value) <= maxArg && utf8.ValidString(value) &&
		!strings.ContainsFunc(value, func(r rune) bool { return r == ';' || r == '=' || r < 0x20 || r == 0x7f })
}

// cacheName names the attachment's own cache folder. '@' is in neither part's
// grammar, so that no two attachments share a name.
func (inv Invocation) cacheName() string { return inv.ContainerID + "@" + inv.Interface }

func (inv Invocation) runtimeConf() *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID:    inv.ContainerID,
		NetNS:          inv.NetNS,
		IfName:         inv.Interface,
		Args:           append([][2]string{{ignoreUnknown, "1"}}, inv.Args...),
		CapabilityArgs: inv.CapabilityArgs,
	}
}
