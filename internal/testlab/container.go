package testlab

import (
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netns"
)

// containerSandboxes is how many sandboxes a user's containers are spread over.
const containerSandboxes = 8

// containers counts those of all tests, so that no two have the same id.
var containers atomic.Int64

// Container is what the daemon knows of a container: a network namespace that a
// user made, in a place where the user's processes see it.
type Container struct {
	// Sandbox is the process that made the namespace, and that asks the daemon.
	Sandbox *Sandbox
	// ID is as long as podman's, 64 hexadecimal digits, and no other's.
	ID string
	// Name is the container's name.
	Name string
	// Netns is the namespace's path, as the sandbox sees it.
	Netns string

	t testing.TB
}

// Containers makes network namespaces of the user, spread over a few sandboxes,
// which can make requests at the same time. They are gone after the test.
func (u User) Containers(t testing.TB, count int) []*Container {
	t.Helper()
	dir := u.Dir(t)
	var sandboxes []*Sandbox
	for range min(count, containerSandboxes) {
		sandboxes = append(sandboxes, u.Sandbox(t))
	}
	all := make([]*Container, count)
	for i := range all {
		n := containers.Add(1)
		all[i] = &Container{
			Sandbox: sandboxes[i%len(sandboxes)], ID: fmt.Sprintf("%064x", n), Name: fmt.Sprintf("web%d", n),
			Netns: filepath.Join(dir, fmt.Sprintf("netns-%d", n)), t: t,
		}
	}
	errs := make([]error, count)
	inParallel(all, func(i int, c *Container) { _, errs[i] = c.Sandbox.Try("netns", c.Netns) })
	for _, err := range errs {
		if err != nil {
			t.Fatalf("testlab: cannot make a container of uid %d: %v", u.UID, err)
		}
	}
	return all
}

// Another makes another container of the same sandbox.
func (c *Container) Another() *Container {
	c.t.Helper()
	another, err := c.TryAnother()
	must(c.t, err)
	return another
}

// TryAnother is Another for any goroutine.
func (c *Container) TryAnother() (*Container, error) {
	n := containers.Add(1)
	another := &Container{
		Sandbox: c.Sandbox, ID: fmt.Sprintf("%064x", n), Name: fmt.Sprintf("web%d", n),
		Netns: filepath.Join(filepath.Dir(c.Netns), fmt.Sprintf("netns-%d", n)), t: c.t,
	}
	_, err := another.Sandbox.Try("netns", another.Netns)
	return another, err
}

// AttachBody is the body of an attach of eth0, with more keys, or others in their place.
func (c *Container) AttachBody(more ...map[string]any) map[string]any {
	body := c.DetachBody()
	body["container_name"] = c.Name
	for _, m := range more {
		maps.Copy(body, m)
	}
	return body
}

// DetachBody is the body of a detach of eth0, with more keys, or others in their place.
func (c *Container) DetachBody(more ...map[string]any) map[string]any {
	body := map[string]any{"container_id": c.ID, "interface_name": "eth0", "netns": c.Netns}
	for _, m := range more {
		maps.Copy(body, m)
	}
	return body
}

// Exec runs a program in the container's namespace, as root of the user's, and
// returns what it wrote on stdout and stderr.
func (c *Container) Exec(argv ...string) string {
	c.t.Helper()
	return c.Sandbox.Exec(append([]string{"nsenter", "--net=" + c.Netns}, argv...)...)
}

// Live starts a process in the container, and tells its id: it lives until it is killed,
// or its sandbox is, and the namespace with it.
func (c *Container) Live() (pid int, err error) {
	out, err := c.Sandbox.Try("live", c.Netns)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// Open opens the container's namespace for the test, which keeps it alive until the
// end, or until Close.
func (c *Container) Open() *Netns {
	c.t.Helper()
	// As the sandbox sees it: the mount is in a namespace of the sandbox's own.
	path := fmt.Sprintf("/proc/%d/root%s", c.Sandbox.PID(), c.Netns)
	handle, err := netns.GetFromPath(path)
	must(c.t, err)
	n := &Netns{handle: handle}
	c.t.Cleanup(n.Close)
	return n
}

// Remove takes the namespace away without a word to the daemon, as a reboot or a
// logout does. It is gone when nobody else holds it.
func (c *Container) Remove() {
	c.t.Helper()
	c.Sandbox.Unmount(c.Netns)
	c.Sandbox.Remove(c.Netns)
}
