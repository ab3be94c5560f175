package bench

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	resource = "bench"        // macvlan with static, as cnitool has it too
	sleepy   = "bench-sleepy" // the same, and a plugin that sleeps
	chain    = `{"type":"macvlan","master":"infra","ipam":{"type":"static","addresses":[{"address":"192.0.2.10/24","gateway":"192.0.2.1"}]}}`
)

// lab is a daemon as it is in real life, an unprivileged user with network
// namespaces, and cnitool on the same configuration.
type lab struct {
	b       *testing.B
	lan     *testlab.LAN
	user    testlab.User
	sandbox *testlab.Sandbox
	daemon  *testlab.Daemon

	dir           string
	plugin, empty string // programs
}

func newLab(b *testing.B) *lab {
	b.Helper()
	testlab.RequireRoot(b)
	l := &lab{b: b, lan: testlab.NewLAN(b), user: testlab.User{UID: 60100, GID: 60100}, dir: testlab.PublicDir(b)}

	// Programs where the user may run them, which a clone in /root is not.
	programs := filepath.Join(l.dir, "bin")
	l.must(os.Mkdir(programs, 0o755))
	l.plugin, l.empty = filepath.Join(programs, "netavark-plugin"), filepath.Join(programs, "emptyclient")
	data, err := os.ReadFile(built("netavark-plugin"))
	l.must(err)
	l.must(os.WriteFile(l.plugin, data, 0o755))
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", programs+"/", "./emptyclient", "./sleeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	l.command(build)

	// The daemon that users get, which `make build` has built.
	l.daemon = testlab.NewDaemon(b, testlab.WithProgram(built("net-porter")), testlab.WithPluginDirs(programs), testlab.WithResources(
		testlab.Resource{Name: resource, Plugins: chain, Users: []testlab.User{l.user}},
		testlab.Resource{Name: sleepy, Plugins: chain + `,{"type":"sleeper"}`, Users: []testlab.User{l.user}},
		// Nobody's: net-porter, too, would go to the daemon that a conflist names.
		testlab.Resource{Name: foreign, Plugins: l.dhcpChain(fmt.Sprintf(`,"daemonSocketPath":%q`, l.dhcpSocket()))},
		testlab.Resource{Name: leased, Plugins: l.dhcpChain(""), Users: []testlab.User{l.user}},
		testlab.Resource{
			Name: unchecked, Plugins: l.dhcpChain(""), Users: []testlab.User{l.user},
			Keys: map[string]any{"dhcp": map[string]any{"conflict_detection": false}},
		},
	))
	// What cnitool keeps is on the file system of the daemon's state. Its cache has a
	// fixed place; this mount is seen by this process's children only.
	l.must(unix.Mount(filepath.Dir(l.daemon.StateDir), "/var/lib", "", unix.MS_BIND, ""))
	l.daemon.Start()
	l.sandbox = l.user.Sandbox(b)
	return l
}

func built(name string) string { return filepath.Join("..", "..", "bin", name) }

func (l *lab) must(err error) {
	l.b.Helper()
	if err != nil {
		l.b.Fatal(err)
	}
}

func (l *lab) command(cmd *exec.Cmd) {
	l.b.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		l.b.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, out)
	}
}

// rss is the daemon's resident memory in MiB.
func (l *lab) rss() float64 { l.b.Helper(); return l.daemon.RSS() }

// container is a network namespace of the user.
type container struct {
	lab      *lab
	id       string
	resource string
	inside   string // its path as the user's sandbox sees it
	path     string // as this process, and a plugin that it starts, sees it
}

func (l *lab) container(n int, resource string) *container {
	l.b.Helper()
	name := fmt.Sprintf("ns-%s-%d", resource, n)
	c := &container{
		lab: l, id: fmt.Sprintf("%064x", n+1), resource: resource,
		inside: filepath.Join(l.user.Dir(l.b), name), path: filepath.Join(l.dir, name),
	}
	l.sandbox.PersistNetns(c.inside)
	l.must(os.WriteFile(c.path, nil, 0o644))
	l.must(unix.Mount(fmt.Sprintf("/proc/%d/root%s", l.sandbox.PID(), c.inside), c.path, "", unix.MS_BIND, ""))
	l.b.Cleanup(func() { _ = unix.Unmount(c.path, unix.MNT_DETACH) })
	return c
}

// cnitool runs `cnitool add` or `cnitool del` as root, for a network's conflist.
func (c *container) cnitool(command, network string) {
	c.lab.b.Helper()
	cmd := exec.Command(built("tools/cnitool"), command, network, c.path)
	d := c.lab.daemon
	cmd.Env = []string{"NETCONFPATH=" + d.ConfigDir, "CNI_PATH=" + strings.Join(d.PluginDirs, ":"), "CNI_IFNAME=eth0"}
	c.lab.command(cmd)
}

// body is what the API asks for in an attach, and in a detach.
func (c *container) body() map[string]any {
	return map[string]any{"container_id": c.id, "interface_name": "eth0", "netns": c.inside}
}

func (c *container) attach() {
	c.lab.b.Helper()
	if status, answer := c.lab.daemon.Attach(c.lab.sandbox, c.resource, c.body()); status != http.StatusOK {
		c.lab.b.Fatalf("attach: %d %s", status, answer)
	}
}

func (c *container) detach() {
	c.lab.b.Helper()
	if status, answer := c.lab.daemon.Detach(c.lab.sandbox, c.resource, c.body()); status != http.StatusNoContent {
		c.lab.b.Fatalf("detach: %d %s", status, answer)
	}
}

// netavark runs the plugin as netavark does, as the user. The error has its output.
func (c *container) netavark(command string) error {
	cmd := exec.Command(c.lab.plugin, command, c.path)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{
		"container_name":"web","container_id":%q,"port_mappings":null,
		"network":{"created":"2026-03-01T10:00:00Z","dns_enabled":false,"driver":"net-porter","id":%[1]q,"internal":false,
			"ipv6_enabled":false,"name":"lan","network_interface":null,"ipam_options":null,"subnets":null,"routes":null,
			"network_dns_servers":null,"options":{"net_porter_resource":%q,"net_porter_socket":%q}},
		"network_options":{"aliases":["web"],"interface_name":"eth0","static_ips":null,"static_mac":null,"options":null}}`,
		c.id, c.resource, c.lab.daemon.Socket))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.lab.user.UID, Gid: c.lab.user.GID}}
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("warning")) {
		return fmt.Errorf("the plugin's %s: %v: %s", command, err, out)
	}
	return nil
}

func (c *container) setup()    { c.lab.b.Helper(); c.lab.must(c.netavark("setup")) }
func (c *container) teardown() { c.lab.b.Helper(); c.lab.must(c.netavark("teardown")) }
