package testlab

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// client is busybox's DHCP client, on a macvlan in a namespace of its own.
type client struct {
	t     *testing.T
	log   *logBuffer
	child *child
}

// clientScript tells what the client got, and gives the interface its address.
const clientScript = `#!/bin/sh
[ "$1" = deconfig ] && ip addr flush dev eth0
[ "$1" = bound ] && ip addr add "$ip/24" dev eth0
echo "event $1 ip=$ip server=$serverid lease=$lease router=$router T1=$opt58 T2=$opt59;"
`

func newClient(t *testing.T, lan *LAN, flags ...string) *client {
	t.Helper()
	busybox, err := lookProgram("busybox", "busybox-static")
	must(t, err)
	script := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(script, []byte(clientScript), 0o755))
	c := &client{t: t, log: newLogBuffer()}
	ns := lan.NewContainerNS("eth0")
	must(t, ns.Do(func() error { return run("ip", "link", "set", "eth0", "up") }))
	c.child, err = startChild(ns, exec.Command(busybox, append([]string{"udhcpc", "-f", "-i", "eth0", "-s", script}, flags...)...), c.log)
	must(t, err)
	t.Cleanup(func() { _ = c.child.end(unix.SIGKILL, waitBound) })
	return c
}

func (c *client) signal(s unix.Signal) { c.t.Helper(); must(c.t, c.child.cmd.Process.Signal(s)) }

func (c *client) renew()   { c.t.Helper(); c.signal(unix.SIGUSR1) }
func (c *client) release() { c.t.Helper(); c.signal(unix.SIGUSR2) }

// wait returns when the client has told of an event so many times, with the last.
func (c *client) wait(event string, times int) map[string]string {
	c.t.Helper()
	told := regexp.MustCompile("event " + event + " (.*);")
	if !c.log.wait(0, nil, func(log string) bool { return len(told.FindAllString(log, -1)) >= times }) {
		c.t.Fatalf("the client was not %s %d times:\n%s", event, times, c.log)
	}
	all := told.FindAllStringSubmatch(c.log.String(), -1)
	facts := map[string]string{}
	for _, fact := range strings.Fields(all[len(all)-1][1]) {
		name, value, _ := strings.Cut(fact, "=")
		facts[name] = value
	}
	return facts
}

func (c *client) bound() netip.Addr {
	c.t.Helper()
	return netip.MustParseAddr(c.wait("bound", 1)["ip"])
}
