package cni_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/testlab"
)

// container is a network namespace that only an open descriptor keeps alive.
type container struct {
	t  *testing.T
	fd int
}

func newContainer(t *testing.T) *container {
	t.Helper()
	fd := make(chan int)
	go func() {
		// Never unlocked: the thread ends with the goroutine and nobody gets it in the wrong namespace.
		runtime.LockOSThread()
		opened := -1
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			opened, _ = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		fd <- opened
	}()
	c := &container{t: t, fd: <-fd}
	if c.fd < 0 {
		t.Fatal("cannot make a network namespace")
	}
	t.Cleanup(c.die)
	return c
}

// die closes the namespace's last descriptor.
func (c *container) die() {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

// reopen gives the namespace another descriptor number, as after the daemon's restart.
func (c *container) reopen() {
	c.t.Helper()
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, c.fd+1)
	if err != nil {
		c.t.Fatal(err)
	}
	c.die()
	c.fd = fd
}

func (c *container) invocation() cni.Invocation {
	return cni.Invocation{
		ContainerID: "1000." + strings.ReplaceAll(c.t.Name(), "/", "_"), Interface: "eth0",
		NetNS: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), c.fd),
		Args:  [][2]string{{"K8S_POD_NAME", "pod"}},
	}
}

// link returns eth0 and its addresses, nil if it is not there.
func (c *container) link() (netlink.Link, []string) {
	c.t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(c.fd))
	if err != nil {
		c.t.Fatal(err)
	}
	defer h.Close()
	link, err := h.LinkByName("eth0")
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		c.t.Fatal(err)
	}
	addrs, err := h.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		c.t.Fatal(err)
	}
	var ips []string
	for _, addr := range addrs {
		ips = append(ips, addr.IPNet.String())
	}
	return link, ips
}

func (c *container) mustHaveNoLink() {
	c.t.Helper()
	if link, _ := c.link(); link != nil {
		c.t.Errorf("the container still has %v", link.Attrs())
	}
}

// parent makes a link of the host that macvlans can sit on.
func parent(t *testing.T) string {
	t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "infra"}, PeerName: "infra-peer"}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.LinkDel(pair); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"infra", "infra-peer"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	return "infra"
}

func realRunner(t *testing.T) *cni.Runner {
	t.Helper()
	testlab.RequireRoot(t)
	r, err := cni.NewRunner(cni.Options{
		PluginDirs: []string{testlab.CNIPlugins(t)}, CacheDir: filepath.Join(t.TempDir(), "cache"), Timeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// hostLocal is an IPAM section, and the folder in which host-local keeps one file per address.
func hostLocal(t *testing.T, fields string) (section, leases string) {
	t.Helper()
	dir := t.TempDir()
	return fmt.Sprintf(`"ipam":{"type":"host-local","dataDir":%q,"subnet":"192.0.2.0/24","routes":[{"dst":"0.0.0.0/0"}]%s}`, dir, fields), filepath.Join(dir, "net")
}

func leased(t *testing.T, leases string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(leases, "192.0.2.*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	return files
}

func chain(t *testing.T, plugins ...string) *cni.Network {
	t.Helper()
	return mustParse(t, `{"cniVersion":"1.0.0","name":"net","plugins":[`+strings.Join(plugins, ",")+`]}`)
}
