package cni

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

// maxConfig is the size in bytes that a network configuration may have.
const maxConfig = 1 << 20

// maxCNIName bounds the network's own name: with container id and interface it
// becomes the name of one file, which has at most 255 bytes (NAME_MAX, limits.h).
const maxCNIName = 96

var (
	// resourcePattern is the grammar of resource names, which become file names.
	resourcePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)
	// cniNamePattern is the CNI spec's grammar of network names (section 1).
	cniNamePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)
)

// Parse reads a configuration list, or a single plugin's configuration, and checks
// it. name is the resource. Every error is a *ConfigError.
func Parse(name string, data []byte) (*Network, error) {
	return parseFile("of resource "+quoteName(name), name, data)
}

func parseFile(file, resource string, data []byte) (*Network, error) {
	n, err := parse(resource, data)
	if err == nil {
		return n, nil
	}
	fault := &ConfigError{File: file, Reason: err.Error()}
	var place *placeError
	if errors.As(err, &place) && place.offset > 0 {
		fault.Line, fault.Column = lineColumn(data, place.offset)
	}
	return nil, fault
}

func parse(resource string, data []byte) (*Network, error) {
	if !resourcePattern.MatchString(resource) {
		return nil, errors.New("a resource name has letters, digits, '_', '.' and '-', starts with a letter or digit, and has at most 128 characters")
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("it is larger than %d bytes", maxConfig)
	}
	tree, err := decodeTree(data)
	if err != nil {
		return nil, err
	}
	if tree, err = asList(tree); err != nil {
		return nil, err
	}
	return build(resource, tree)
}

// asList makes a single plugin's configuration a list of one, as libcni does.
func asList(tree map[string]any) (map[string]any, error) {
	if err := checkSpelling(tree, "name", "cniVersion", "cniVersions", "plugins", "type", "ipam"); err != nil {
		return nil, err
	}
	if _, isList := tree["plugins"]; isList {
		return tree, nil
	}
	if _, isPlugin := tree["type"]; !isPlugin {
		return nil, errors.New(`it has neither "plugins" (a list) nor "type" (a single plugin)`)
	}
	list := map[string]any{"plugins": []any{tree}}
	for _, key := range []string{"name", "cniVersion", "cniVersions"} {
		if value, ok := tree[key]; ok {
			list[key] = value
		}
	}
	return list, nil
}

// build checks a list and makes it a Network.
func build(resource string, tree map[string]any) (*Network, error) {
	data, err := encode(tree)
	if err != nil {
		return nil, err
	}
	plugins, err := pluginTrees(tree)
	if err != nil {
		return nil, err
	}
	if tree["name"] == nil {
		return nil, errors.New(`"name" is missing: it names the network to its plugins`)
	}
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	if !cniNamePattern.MatchString(list.Name) || len(list.Name) > maxCNIName {
		return nil, fmt.Errorf(`"name" %q: a CNI network name has letters, digits, '_', '.' and '-', starts with a letter or digit, and has at most %d characters`, list.Name, maxCNIName)
	}
	if err := checkVersion(list.CNIVersion); err != nil {
		return nil, err
	}
	n := &Network{Name: resource, bytes: data, list: list}
	for i, p := range list.Plugins {
		l, err := checkLink(p, plugins[i])
		if err != nil {
			return nil, fmt.Errorf("plugin %d of the list: %w", i+1, err)
		}
		n.chain = append(n.chain, l)
	}
	return n, nil
}

// pluginTrees returns the objects of "plugins"; changing them changes the tree.
func pluginTrees(tree map[string]any) ([]map[string]any, error) {
	array, ok := tree["plugins"].([]any)
	if !ok {
		return nil, errors.New(`"plugins" must be an array`)
	}
	if len(array) == 0 {
		return nil, errors.New(`"plugins" is empty: at least one plugin is needed`)
	}
	plugins := make([]map[string]any, len(array))
	for i, value := range array {
		if plugins[i], ok = value.(map[string]any); !ok {
			return nil, fmt.Errorf("plugin %d of the list must be an object", i+1)
		}
		if err := checkSpelling(plugins[i], "type", "ipam", "capabilities", "args"); err != nil {
			return nil, fmt.Errorf("plugin %d of the list: %w", i+1, err)
		}
		if text(plugins[i], "type") == "" {
			return nil, fmt.Errorf(`plugin %d of the list: "type" is missing, or is not a string`, i+1)
		}
	}
	return plugins, nil
}

// checkVersion takes the versions whose results list interfaces. Those of 0.1.0
// and 0.2.0 do not, so that a container's MAC address could not be told.
func checkVersion(version string) error {
	known := []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}
	if slices.Contains(known, version) {
		return nil
	}
	if version == "" {
		return errors.New(`"cniVersion" is missing: write "cniVersion": "1.0.0"`)
	}
	return fmt.Errorf(`"cniVersion" %q is not supported: it must be one of %s`, version, strings.Join(known, ", "))
}

func checkLink(p *libcni.PluginConfig, conf map[string]any) (link, error) {
	l := link{pluginType: p.Network.Type, ipamType: p.Network.IPAM.Type}
	if !isFileName(l.pluginType) {
		return link{}, fmt.Errorf(`"type" %q must be the plain name of a plugin`, l.pluginType)
	}
	l.master, l.inside = masterOf(l.pluginType, conf)
	l.mode, _ = conf["mode"].(string)
	_, l.setsMAC = conf["mac"]
	l.setsMAC = l.setsMAC && l.pluginType == "tuning"
	ipam, ok := conf["ipam"].(map[string]any)
	if !ok {
		return l, nil
	}
	if err := checkSpelling(ipam, "type", "daemonSocketPath"); err != nil {
		return link{}, fmt.Errorf(`"ipam": %w`, err)
	}
	if l.ipamType != "" && !isFileName(l.ipamType) {
		return link{}, fmt.Errorf(`"ipam": "type" %q must be the plain name of a plugin`, l.ipamType)
	}
	if value, there := ipam["daemonSocketPath"]; there {
		if l.dhcpSocket, ok = value.(string); !ok {
			return link{}, errors.New(`"ipam": "daemonSocketPath" must be a string`)
		}
	}
	return l, nil
}

// checkSpelling refuses a key that differs from a known one only in case. Plugins
// are written in Go, whose JSON decoder takes "Type" for "type": what was checked
// and what is run must not differ.
func checkSpelling(object map[string]any, known ...string) error {
	for key := range object {
		for _, want := range known {
			if key != want && strings.EqualFold(key, want) {
				return fmt.Errorf("key %q must be written %q", key, want)
			}
		}
	}
	return nil
}

// isFileName reports whether a name is that of a file in a folder, and of that folder only.
func isFileName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\x00\n")
}

// quoteName shows a name that may be anything, bounded.
func quoteName(name string) string {
	if len(name) > 128 {
		name = name[:128] + "…"
	}
	return fmt.Sprintf("%q", name)
}
