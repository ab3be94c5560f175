package doctor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/net-porter/net-porter/internal/netavark"
	"github.com/net-porter/net-porter/internal/plugin"
)

// maxNetworks is how many entries of a folder of networks are looked at, as its owner may
// have put any number there.
const maxNetworks = 1000

// networks looks at the subject's podman networks, where podman keeps them by default: what
// they name has to be there.
func (e *examination) networks() {
	e.area = "Networks"
	dir := "/etc/containers/networks"
	if e.subject.UID != 0 {
		if !filepath.IsAbs(e.subject.home) {
			e.unknown("networks.list", "where the podman networks of %s are is not known", e.subject.name)
			return
		}
		dir = filepath.Join(e.subject.home, ".local/share/containers/storage/networks")
	}
	found := 0
	for _, file := range e.host.list(dir, ".json", maxNetworks) {
		var n netavark.Network
		if json.Unmarshal([]byte(e.host.read(file)), &n) != nil || n.Driver != "net-porter" {
			continue
		}
		found++
		e.network(&n)
	}
	if found == 0 && !(e.host.asRoot && e.subject.UID == 0) {
		e.add(Warning, "networks.list", fmt.Sprintf("%s has no podman network of net-porter", e.subject.name),
			"podman network create -d net-porter -o net_porter_resource=RESOURCE -o net_porter_socket="+e.o.Socket+" NAME")
	}
}

// networkName is what podman lets a network be called. The file may have anything, and root
// is given no command with that.
var networkName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$`)

func (e *examination) network(n *netavark.Network) {
	name := quoted(n.Name)
	again := "remove it and create it anew"
	if networkName.MatchString(n.Name) {
		again = "podman network rm " + n.Name + ", and create it anew"
	}
	resource, socket, err := plugin.Target(n)
	if err != nil {
		e.add(Problem, "networks.options", fmt.Sprintf("the podman network %s cannot be used: %v", name, err), again)
		return
	}
	if socket != filepath.Clean(e.o.Socket) {
		if st, err := os.Stat(e.host.path(socket)); err != nil || st.Mode()&os.ModeSocket == 0 {
			e.add(Problem, "networks.socket", fmt.Sprintf("the podman network %s asks at %s, where there is no socket; the daemon's is %s", name, quoted(socket), e.o.Socket),
				again+" with -o net_porter_socket="+e.o.Socket)
			return
		}
		e.add(Warning, "networks.socket", fmt.Sprintf("the podman network %s asks at %s, and not at %s, which this is about", name, quoted(socket), e.o.Socket),
			"net-porter doctor --socket says what is there")
		return
	}
	if e.told && !slices.ContainsFunc(e.offered, func(r offer) bool { return r.Name == resource }) {
		e.add(Problem, "networks.resource", fmt.Sprintf("the podman network %s is of the resource %s, which is not configured, or not for %s", name, quoted(resource), e.subject.name), again+" with a resource of net-porter networks")
		return
	}
	e.ok("networks.network", "the podman network %s is of the resource %s", name, quoted(resource))
}
