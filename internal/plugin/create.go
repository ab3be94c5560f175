package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/netavark"
)

// Create checks the network, and asks the daemon whether this user may use its
// resource. The target is written into the network's options, where setup and
// teardown find it: they are not told the labels.
func (h *handler) Create(ctx context.Context, n *netavark.Network) error {
	if err := checkNetwork(n); err != nil {
		return err
	}
	if err := checkOptions(n.Options); err != nil {
		return err
	}
	target, err := findTarget(n)
	if err != nil {
		return err
	}
	if err := h.checkNetavark(ctx); err != nil {
		return err
	}
	if err := h.askDaemon(ctx, target); err != nil {
		return err
	}
	// aardvark-dns knows nothing of containers on plugin networks.
	n.DNSEnabled = false
	if len(n.Subnets) > 0 {
		h.warn("podman itself chooses the addresses of --subnet: containers start only with such as are granted to you on the resource %s (static_ips)", target.resource)
	}
	remember(n, optResource, optResourceShort, target.resource)
	if n.Labels[labelSocket] != "" {
		remember(n, optSocket, optSocketShort, target.socket)
	}
	return nil
}

// remember sets an option that is there in neither spelling.
func remember(n *netavark.Network, long, short, value string) {
	if n.Options[long] != "" || n.Options[short] != "" {
		return
	}
	if n.Options == nil {
		n.Options = make(map[string]string)
	}
	n.Options[long] = value
}

// checkNetwork refuses what would silently have no effect.
func checkNetwork(n *netavark.Network) error {
	switch {
	case n.Internal:
		return errors.New("--internal cannot be used: what a container can reach is up to the resource; leave it out")
	case len(n.Routes) > 0:
		return errors.New("--route cannot be used: routes come from the resource; leave it out")
	case n.IPv6Enabled && len(n.Subnets) == 0: // podman sets it for a subnet of IPv6, too
		return errors.New("--ipv6 cannot be used: whether containers get IPv6 addresses is up to the resource; leave it out")
	case n.NetworkInterface != "":
		return errors.New("--interface-name cannot be used: the parent interface comes from the resource; leave it out")
	case len(n.NetworkDNSServers) > 0:
		return errors.New("--dns cannot be used: it is for podman's own DNS, which does not serve this network; DNS servers come from the resource")
	}
	switch driver := n.IPAMOptions["driver"]; {
	case driver == "", driver == "none": // podman gives no addresses itself, but for those of --subnet
		return nil
	case driver == "host-local" && len(n.Subnets) > 0: // what podman writes for --subnet
		return nil
	default:
		return fmt.Errorf("--ipam-driver %.100s cannot be used: addresses come from the resource; leave it out", plain(driver))
	}
}

// checkOptions refuses options that are not known: a misspelt one would otherwise
// mean the resource of the network's name.
func checkOptions(options map[string]string) error {
	known := []string{optResource, optSocket, optResourceShort, optSocketShort}
	podmans := []string{"bclim", "isolate", "metric", "mode", "mtu", "no_default_route", "parent", "vlan", "vrf"}
	for _, option := range slices.Sorted(maps.Keys(options)) {
		if slices.Contains(known, option) {
			continue
		}
		if slices.Contains(podmans, option) || strings.HasPrefix(option, "com.docker.network.") {
			return fmt.Errorf("the option %s cannot be used: it is up to the resource; leave it out", option)
		}
		if meant := nearest(option, known); meant != "" {
			return fmt.Errorf("unknown option %.100q; did you mean %s?", option, meant)
		}
		return fmt.Errorf("unknown option %.100q; there are %s and %s", option, optResource, optSocket)
	}
	return nil
}

// askDaemon fails only where the daemon says that this user cannot have the resource.
func (h *handler) askDaemon(ctx context.Context, target target) error {
	client, err := h.client(target.socket, h.createPatience)
	if err != nil {
		return err
	}
	network, err := client.network(ctx, target.resource)
	if err == nil {
		if !network.Ready {
			h.warn("the resource %s is not ready, containers cannot use it yet: %s", target.resource, plain(network.Reason))
		}
		return nil
	}
	var problem *problemError
	if errors.As(err, &problem) {
		switch problem.code {
		case api.ResourceNotFound, api.NotPermitted, api.InvalidRequest:
			return err
		}
	}
	if ctx.Err() != nil {
		return err
	}
	h.warn("the network is created, but it was not checked that you may use the resource %s: %v", target.resource, err)
	return nil
}

// nearest returns the word of words that s is probably a misspelling of, or "".
func nearest(s string, words []string) string {
	const far = 3 // a typing slip or two
	s = strings.ToLower(strings.ReplaceAll(s, "-", "_"))
	if len(s) > 64 {
		return ""
	}
	best, found := far+1, ""
	for _, w := range words {
		if d := distance(s, w); d < best && d < len(w)/2 {
			best, found = d, w
		}
	}
	return found
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
