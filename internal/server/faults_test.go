package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/testlab"
)

// A parent link that is deleted takes its macvlans with it. That is told, by itself and
// to their owner; the rest goes on; and when there is a parent again all can be mended.
func TestParentDeletedAndMadeAgain(t *testing.T) {
	l := newParentLab(t)
	root, e := testlab.User{}.Run(t), eve.Run(t)
	old, older, other := l.box("lan", "old"), l.box("lan", "older"), l.box("other", "other")
	for _, b := range []*parentBox{old, older, other} {
		b.attach()
	}
	old.wantFaults(l.s)
	ip(t, "link", "del", "infra")
	l.log.waitFor(t, `level=WARN msg="the parent link of a resource is gone" resource=lan parent=infra attachments=2 faulty=2`)
	old.wantFaults(l.s, "eth0 is gone", "infra", "podman network reload")
	old.wantFaults(root, "eth0 is gone")
	if list := l.attachments(e); len(list) > 0 {
		t.Errorf("eve sees %+v", list)
	}
	l.wantMetric(`net_porter_resource_ready{resource="lan"}`, "0")
	l.wantMetric(`net_porter_resource_ready{resource="other"}`, "1")
	l.wantMetric(`net_porter_attachments_faulty{resource="lan"}`, "2")
	l.wantMetric(`net_porter_attachments_faulty{resource="other"}`, "0")
	fresh := l.box("lan", "fresh")
	fresh.unavailable("parent link infra, which is not there")
	other.wantFaults(l.s)
	l.box("other", "another").attach()

	ip(t, "link", "add", "infra", "type", "veth", "peer", "name", "lan0")
	ip(t, "link", "set", "lan0", "up")
	l.log.waitFor(t, `level=WARN msg="the parent link of a resource is down" resource=lan parent=infra attachments=2 faulty=2`)
	ip(t, "link", "set", "infra", "up")
	l.log.waitFor(t, `level=INFO msg="the parent link of a resource is back, as another link than before" resource=lan parent=infra attachments=2 faulty=2`)
	fresh.attach()
	fresh.wantFaults(l.s)
	old.wantFaults(l.s, "eth0 is gone")
	if n := l.addresses("lan"); n != 3 {
		t.Errorf("host-local has given out %d addresses", n)
	}
	older.detach() // as a restart or `podman network reload` does
	if n := l.addresses("lan"); n != 2 {
		t.Errorf("host-local has given out %d addresses after a detach", n)
	}
	older.attach()
	old.attach() // and without a detach
	for _, b := range []*parentBox{old, older, fresh} {
		b.wantFaults(l.s)
		b.detach()
	}
	if n := l.addresses("lan"); n != 0 {
		t.Errorf("host-local has kept %d addresses", n)
	}
}

func TestParentDownAndUp(t *testing.T) {
	l := newParentLab(t)
	local, leased := l.box("lan", "local"), l.box("leased", "leased")
	local.attach()
	leased.attach()
	ip(t, "link", "set", "infra", "down")
	l.log.waitFor(t, `level=WARN msg="the parent link of a resource is down" resource=lan parent=infra attachments=1 faulty=1`)
	local.wantFaults(l.s, "parent link infra", "down", "ip link set infra up")
	leased.wantFaults(l.s, "parent link infra", "down")
	l.box("lan", "fresh").unavailable("down")
	l.box("other", "other").attach()
	ip(t, "link", "set", "infra", "up")
	l.log.waitFor(t, `level=INFO msg="the parent link of a resource is back" resource=lan parent=infra attachments=1 faulty=0`)
	local.wantFaults(l.s)
	leased.wantFaults(l.s)

	// Who has a static address can do without a carrier.
	ok(t, l.lan.Do(func() error { return exec.Command("ip", "link", "set", "lan0", "down").Run() }))
	l.log.waitFor(t, `level=WARN msg="the parent link of a resource is without carrier" resource=leased parent=infra attachments=1 faulty=1`)
	local.wantFaults(l.s)
	leased.wantFaults(l.s, "parent link infra", "no carrier", "DHCP")
	ok(t, l.lan.Do(func() error { return exec.Command("ip", "link", "set", "lan0", "up").Run() }))
	l.log.waitFor(t, `level=INFO msg="the parent link of a resource is back" resource=leased parent=infra attachments=1 faulty=0`)
	leased.wantFaults(l.s)
	l.box("lan", "fresh").attach()
}

func TestParentRenamed(t *testing.T) {
	l := newParentLab(t)
	root := testlab.User{}.Run(t)
	b := l.box("lan", "old")
	b.attach()
	ip(t, "link", "set", "infra", "name", "secret0")
	l.log.waitFor(t, `level=WARN msg="the parent link of a resource is gone" resource=lan parent=infra attachments=1 faulty=1`)
	if told := b.wantFaults(l.s, "parent link infra was renamed", "goes on"); strings.Contains(told, "secret0") {
		t.Errorf("alice is told of another link: %s", told)
	}
	b.wantFaults(root, "infra was renamed to secret0")
	l.box("lan", "fresh").unavailable("not there")
	ip(t, "link", "set", "secret0", "name", "infra")
	l.log.waitFor(t, `level=INFO msg="the parent link of a resource is back" resource=lan parent=infra attachments=1 faulty=0`)
	b.wantFaults(l.s)
	l.box("lan", "fresh").attach()

	// Another one takes the name, in one moment.
	ip(t, "link", "add", "infra3", "type", "veth", "peer", "name", "lan3")
	for _, name := range []string{"infra3", "lan3"} {
		ip(t, "link", "set", name, "up")
	}
	swap := exec.Command("ip", "-batch", "-")
	swap.Stdin = strings.NewReader("link set infra name secret0\nlink set infra3 name infra\n")
	if out, err := swap.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Where the kernel takes its time, the daemon looks between the two, and it is back as another link.
	l.log.waitFor(t, `another link than before" resource=lan parent=infra attachments=2 faulty=2`)
	b.wantFaults(l.s, "renamed", "another link has its name", "restart the container")
	b.detach()
	b.attach()
	b.wantFaults(l.s)
	// With an alternative name it is the one that is meant.
	ip(t, "link", "set", "infra", "name", "lan7")
	ip(t, "link", "property", "add", "dev", "lan7", "altname", "infra")
	b.wantFaults(l.s)
	ip(t, "link", "del", "lan7")
	ip(t, "link", "set", "secret0", "name", "infra")
}

// What a container's root does to the interface is told, and harms nothing.
func TestContainerBreaksItsInterface(t *testing.T) {
	for name, tt := range map[string]struct{ change, says string }{
		"removed":  {"ip link del eth0", "eth0 is gone: it was removed"},
		"replaced": {`i=$(ip -o link show eth0 | cut -d: -f1); ip link del eth0; ip link add name eth0 index $i type bridge`, "no link of this host"},
		"renamed":  {"ip link set eth0 down; ip link set eth0 name 'lan\"0'", `renamed to "lan\"0" in the container`},
		"down":     {"ip link set eth0 down", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newParentLab(t)
			b := l.box("lan", "broken")
			b.attach()
			l.s.Exec("nsenter", "--net="+b.ns, "sh", "-c", tt.change)
			l.server.monitor.look(true)
			if tt.says == "" {
				b.wantFaults(l.s)
				l.wantMetric(`net_porter_attachments_faulty{resource="lan"}`, "0")
			} else {
				b.wantFaults(l.s, tt.says)
				l.wantMetric(`net_porter_attachments_faulty{resource="lan"}`, "1")
			}
			l.box("lan", "fresh").attach()
			b.detach()
			if n := l.addresses("lan"); n != 1 {
				t.Errorf("host-local has given out %d addresses", n)
			}
		})
	}
}

// A resource without a usable configuration or without a plugin says so, to those who
// ask, in the log and in metrics, and is back when that is. Another goes on.
func TestResourceBrokenAndMended(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	plugins := pluginDirs(t, "fake", `cat >/dev/null; test "$CNI_COMMAND" = ADD || exit 0
		echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"'$CNI_NETNS'"}]}'`)
	l := &parentLab{daemon: start(t, setup{conflists: map[string]string{
		"lan": chained("fake"), "other": strings.Replace(staticConflist, `"lan"`, `"other"`, 1),
	}, pluginDirs: plugins})}
	l.s, l.dir = sandboxWithDir(t, alice)
	old, fresh, other := l.box("lan", "old"), l.box("lan", "fresh"), l.box("other", "other")
	old.attach()
	conflist, plugin := filepath.Join(l.confDir, "lan.json"), filepath.Join(plugins[1], "fake")
	aside := func(path string) func() error { return func() error { return os.Rename(path, path+".aside") } }
	back := func(path string) func() error { return func() error { return os.Rename(path+".aside", path) } }
	for _, tt := range []struct {
		name          string
		breaks, mends func() error
		says, logged  string
	}{
		{"no conflist", aside(conflist), back(conflist), "has no network configuration", "has no lan.conflist"},
		{"no plugin", aside(plugin), back(plugin), "plugin that is missing", "fake"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ok(t, tt.breaks())
			ok(t, l.server.Configure(l.configuration))
			fresh.unavailable(tt.says)
			other.attach()
			other.detach()
			old.wantFaults(l.s)
			l.server.monitor.look(false)
			l.wantMetric(`net_porter_resource_ready{resource="lan"}`, "0")
			l.wantMetric(`net_porter_resource_ready{resource="other"}`, "1")
			if !slices.ContainsFunc(strings.Split(l.log.String(), "\n"), func(line string) bool {
				return strings.Contains(line, `level=WARN msg="a resource cannot be used" resource=lan`) && strings.Contains(line, tt.logged)
			}) {
				t.Errorf("the log does not say why")
			}
			ok(t, tt.mends())
			ok(t, l.server.Configure(l.configuration))
			fresh.attach()
			fresh.detach()
			l.server.monitor.look(false)
			l.wantMetric(`net_porter_resource_ready{resource="lan"}`, "1")
		})
	}
	if n := strings.Count(l.log.String(), `level=INFO msg="a resource can be used again" resource=lan`); n != 2 {
		t.Errorf("the log says %d times that it is back", n)
	}
}

// Whoever may not use the resource any more is told what is wrong, but not the name of
// the host's link; and an expired lease is told.
func TestFaultsTellNoMoreThanNeeded(t *testing.T) {
	l := newParentLab(t)
	b := l.box("lan", "old")
	b.attach()
	ip(t, "link", "set", "infra", "down")
	view := l.manager.View(l.manager.List()[0])
	stranger := inspection{server: l.server, id: peer.Identity{UID: mallory.UID}}
	if faults := strings.Join(stranger.faults(view), "; "); !strings.Contains(faults, "its parent link, which is down") || strings.Contains(faults, "infra") {
		t.Errorf("told: %s", faults)
	}
	ip(t, "link", "set", "infra", "up")
	view.Leases = []dhcp.Status{{Lease: dhcp.Lease{Expired: true}}}
	if faults := (&inspection{server: l.server}).faults(view); len(faults) != 1 || !strings.Contains(faults[0], "lease") {
		t.Errorf("told: %q", faults)
	}
	released := *view.Record
	released.State = attachment.FailedDetach
	view.Record = &released
	if faults := (&inspection{server: l.server}).faults(view); len(faults) > 0 {
		t.Errorf("of one that is not attached: %q", faults)
	}
}
