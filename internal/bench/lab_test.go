package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	resource  = "bench"        // macvlan with static, as cnitool has it too
	sleepy    = "bench-sleepy" // the same, and a plugin that sleeps
	chain     = `{"type":"macvlan","master":"infra","ipam":{"type":"static","addresses":[{"address":"192.0.2.10/24","gateway":"192.0.2.1"}]}}`
	readyTime = 20 * time.Second
)

// lab is a daemon as it is in real life, an unprivileged user with network
// namespaces, and cnitool on the same configuration.
type lab struct {
	b       *testing.B
	user    testlab.User
	sandbox *testlab.Sandbox
	daemon  *exec.Cmd

	dir, socket, confDir string
	plugin, empty        string // programs
	cniPath              string
}

func newLab(b *testing.B) *lab {
	b.Helper()
	testlab.RequireRoot(b)
	testlab.NewLAN(b, testlab.WithoutServer())
	l := &lab{b: b, user: testlab.User{UID: 60100, GID: 60100}, dir: testlab.PublicDir(b)}
	l.socket, l.confDir = filepath.Join(l.dir, "net-porter.sock"), filepath.Join(l.dir, "cni.d")

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

	l.cniPath = testlab.CNIPlugins(b) + ":" + programs
	l.must(os.Mkdir(l.confDir, 0o755))
	l.conflist(resource, chain)
	l.conflist(sleepy, chain+`,{"type":"sleeper"}`)
	l.startDaemon()
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

func (l *lab) conflist(name, plugins string) {
	l.b.Helper()
	text := fmt.Sprintf(`{"cniVersion":"1.0.0","name":%q,"plugins":[%s]}`, name, plugins)
	l.must(os.WriteFile(filepath.Join(l.confDir, name+".conflist"), []byte(text), 0o644))
}

// startDaemon starts the server and returns when it is ready. What it and cnitool
// keep is on the same file system, one that outlives a reboot.
func (l *lab) startDaemon() {
	l.b.Helper()
	state, err := os.MkdirTemp("/var/tmp", "net-porter-bench-")
	l.must(err)
	l.b.Cleanup(func() { os.RemoveAll(state) })
	// cnitool's cache has a fixed place; this mount is seen by this process's children only.
	l.must(unix.Mount(state, "/var/lib", "", unix.MS_BIND, ""))

	config, err := json.Marshal(map[string]any{
		"domain_socket": map[string]any{"path": l.socket, "user": "root", "group": "root", "mode": "0666"},
		"cni":           map[string]any{"config_dir": l.confDir, "plugin_dirs": strings.Split(l.cniPath, ":")},
		"state_dir":     filepath.Join(state, "net-porter"),
		"resources": []any{
			map[string]any{"name": resource, "allow_users": []any{strconv.Itoa(int(l.user.UID))}},
			map[string]any{"name": sleepy, "allow_users": []any{strconv.Itoa(int(l.user.UID))}},
		},
	})
	l.must(err)
	file := filepath.Join(l.dir, "config.json")
	l.must(os.WriteFile(file, config, 0o644))

	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(l.dir, "notify"), Net: "unixgram"})
	l.must(err)
	var log bytes.Buffer
	l.daemon = exec.Command(built("net-porter"), "server", "-c", file)
	l.daemon.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.LocalAddr().String())
	l.daemon.Stderr = &log
	l.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	l.must(l.daemon.Start())
	l.b.Cleanup(func() {
		_ = l.daemon.Process.Signal(unix.SIGTERM)
		if err := l.daemon.Wait(); err != nil {
			text := log.String()
			l.b.Errorf("the daemon: %v\n...%s", err, text[max(0, len(text)-4096):])
		}
		notify.Close() // the daemon also told when it stopped
	})
	l.must(notify.SetReadDeadline(time.Now().Add(readyTime)))
	for message := make([]byte, 4096); ; {
		n, err := notify.Read(message)
		if err != nil {
			l.b.Fatalf("the daemon is not ready: %v", err)
		}
		if strings.Contains(string(message[:n]), "READY=1") {
			return
		}
	}
}

// rss is the daemon's resident memory in MiB.
func (l *lab) rss() float64 {
	l.b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.daemon.Process.Pid))
	l.must(err)
	for line := range strings.Lines(string(status)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	l.b.Fatal("no VmRSS in the daemon's status")
	return 0
}

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

// cnitool runs `cnitool add` or `cnitool del` as root.
func (c *container) cnitool(command string) {
	c.lab.b.Helper()
	cmd := exec.Command(built("tools/cnitool"), command, c.resource, c.path)
	cmd.Env = []string{"NETCONFPATH=" + c.lab.confDir, "CNI_PATH=" + c.lab.cniPath, "CNI_IFNAME=eth0"}
	c.lab.command(cmd)
}

// call makes an API request from within the user's sandbox.
func (c *container) call(operation string, status int) {
	c.lab.b.Helper()
	body := fmt.Sprintf(`{"container_id":%q,"interface_name":"eth0","netns":%q}`, c.id, c.inside)
	r := c.lab.sandbox.HTTP(c.lab.socket, testlab.Request{
		Method: http.MethodPost, Path: "/v1/networks/" + c.resource + "/" + operation,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body),
	})
	if r.Status != status {
		c.lab.b.Fatalf("%s: %d %s", operation, r.Status, r.Body)
	}
}

func (c *container) attach() { c.lab.b.Helper(); c.call("attach", http.StatusOK) }
func (c *container) detach() { c.lab.b.Helper(); c.call("detach", http.StatusNoContent) }

// netavark runs the plugin as netavark does, as the user. The error has its output.
func (c *container) netavark(command string) error {
	cmd := exec.Command(c.lab.plugin, command, c.path)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{
		"container_name":"web","container_id":%q,"port_mappings":null,
		"network":{"created":"2026-03-01T10:00:00Z","dns_enabled":false,"driver":"net-porter","id":%[1]q,"internal":false,
			"ipv6_enabled":false,"name":"lan","network_interface":null,"ipam_options":null,"subnets":null,"routes":null,
			"network_dns_servers":null,"options":{"net_porter_resource":%q,"net_porter_socket":%q}},
		"network_options":{"aliases":["web"],"interface_name":"eth0","static_ips":null,"static_mac":null,"options":null}}`,
		c.id, c.resource, c.lab.socket))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.lab.user.UID, Gid: c.lab.user.GID}}
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("warning")) {
		return fmt.Errorf("the plugin's %s: %v: %s", command, err, out)
	}
	return nil
}

func (c *container) setup()    { c.lab.b.Helper(); c.lab.must(c.netavark("setup")) }
func (c *container) teardown() { c.lab.b.Helper(); c.lab.must(c.netavark("teardown")) }
