package plugin

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/net-porter/net-porter/internal/netavark"
)

// Where a network says which resource it is on and where the daemon listens. The
// Docker-compatible API passes labels only.
const (
	optResource      = "net_porter_resource"
	optResourceShort = "resource"
	labelResource    = "net-porter.resource"
	optSocket        = "net_porter_socket"
	optSocketShort   = "socket"
	labelSocket      = "net-porter.socket"
)

// defaultSocket is where the daemon listens when its configuration does not say.
const defaultSocket = "/run/net-porter.sock"

// maxResource is the API's limit of a resource's name, in bytes.
const maxResource = 256

// target is what a network points at.
type target struct {
	resource string
	socket   string // absolute path
}

// Target returns the resource that a network is of, and the daemon's socket that its
// containers' plugin asks at. The error says what is wrong with the network's options.
func Target(n *netavark.Network) (resource, socket string, err error) {
	t, err := findTarget(n)
	return t.resource, t.socket, err
}

// findTarget reads the target out of the network's options, else its labels, else
// takes the network's name for the resource and the default socket.
func findTarget(n *netavark.Network) (target, error) {
	resource, err := setting(n, optResource, optResourceShort, labelResource)
	if err != nil {
		return target{}, err
	}
	if resource == "" {
		resource = n.Name
	}
	if !isResourceName(resource) {
		return target{}, fmt.Errorf("%.100q cannot be the name of a resource; name one with -o %s=RESOURCE (an administrator knows which there are)", resource, optResource)
	}
	socket, err := setting(n, optSocket, optSocketShort, labelSocket)
	if err != nil {
		return target{}, err
	}
	if socket == "" {
		socket = defaultSocket
	}
	if !filepath.IsAbs(socket) || strings.ContainsRune(socket, 0) {
		return target{}, fmt.Errorf("the socket must be an absolute path, such as %s; %.100q is not", defaultSocket, socket)
	}
	return target{resource: resource, socket: filepath.Clean(socket)}, nil
}

// setting returns the value of an option that has two spellings, else that of the label.
func setting(n *netavark.Network, long, short, label string) (string, error) {
	a, hasLong := n.Options[long]
	b, hasShort := n.Options[short]
	switch {
	case hasLong && hasShort && a != b:
		return "", fmt.Errorf("the options %s=%.100q and %s=%.100q differ; give one of them", long, a, short, b)
	case hasLong && a == "", hasShort && b == "":
		return "", fmt.Errorf("the option %s has no value", optionNamed(long, short, hasLong))
	case hasLong:
		return a, nil
	case hasShort:
		return b, nil
	}
	if v, ok := n.Labels[label]; ok {
		if v == "" {
			return "", errors.New("the label " + label + " has no value")
		}
		return v, nil
	}
	return "", nil
}

func optionNamed(long, short string, hasLong bool) string {
	if hasLong {
		return long
	}
	return short
}

// isResourceName keeps what would change the meaning of the request's path, such as
// "..", out of it. Which names there can be is the daemon's business.
func isResourceName(s string) bool {
	return s != "" && len(s) <= maxResource && s[0] != '.' && isName(s)
}

// isName reports whether s has only letters, digits, '_', '.' and '-' of ASCII.
func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}
