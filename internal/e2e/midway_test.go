package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/labhost"
)

// The way of a setup or teardown: podman starts netavark, which starts the plugin.
type way struct{ plugin, netavark, podman int }

// wayOf finds the processes of the only setup or teardown that a user has under way.
func wayOf(t testing.TB, user string) (w way) {
	t.Helper()
	out := must(t, "root", "sh", "-ec", `
		plugin=$(pgrep -u "$1" -x net-porter)
		netavark=$(ps -o ppid= -p $plugin)
		echo $plugin $netavark $(ps -o ppid= -p $netavark)`, "sh", user)
	if _, err := fmt.Sscan(out, &w.plugin, &w.netavark, &w.podman); err != nil {
		t.Fatalf("cannot find podman, netavark and the plugin: %q: %v", out, err)
	}
	return w
}

// gate is what holds up plugin runs of the resource macvlan-gate.
type gate struct {
	t   testing.TB
	log *follower
}

// newGate opens the gate; it is there until the test is over.
func newGate(t testing.TB) *gate {
	t.Helper()
	must(t, "root", "sh", "-c", "mkdir -p /run/gate && : >/run/gate/log")
	t.Cleanup(func() { must(t, "root", "rm", "-rf", "/run/gate") })
	log, err := follow("tail", "-n", "+1", "-F", "/run/gate/log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.end)
	return &gate{t, log}
}

// close makes the next ADD or DEL wait for open, and the test, with the function that it
// returns, for the plugin to come to the gate.
func (g *gate) close(command string) (reached func()) {
	g.t.Helper()
	must(g.t, "root", "touch", "/run/gate/"+command)
	from := g.log.now()
	return func() { g.t.Helper(); g.log.await(g.t, from, command) }
}

func (g *gate) open() { g.t.Helper(); must(g.t, "root", "rm", "-f", "/run/gate/ADD", "/run/gate/DEL") }

// underWay is a command of a user's that has not ended.
type underWay struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

func begin(t testing.TB, user string, args ...string) *underWay {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	u := &underWay{cmd: labhost.Command(ctx, user, args...)}
	u.cmd.Stdout, u.cmd.Stderr = &u.out, &u.out
	u.cmd.WaitDelay = time.Second // what podman has started may hold the pipes
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return u
}

// end waits for the command and logs how it ended, which depends on what was killed.
func (u *underWay) end(t testing.TB) {
	t.Helper()
	_ = u.cmd.Process.Signal(syscall.SIGCONT) // nsenter(1) stops with what it has started
	err := u.cmd.Wait()
	t.Logf("podman ended with %v: %s", err, bytes.TrimSpace(u.out.Bytes()))
}

// victims are whom to kill on the way.
var victims = []struct {
	name string
	of   func(way) []int
}{
	{"podman", func(w way) []int { return []int{w.podman} }},
	{"netavark", func(w way) []int { return []int{w.netavark} }},
	{"plugin", func(w way) []int { return []int{w.plugin} }},
	{"all", func(w way) []int { return []int{w.podman, w.netavark, w.plugin} }},
}

// killedInSetup runs a container and kills some of those on the way, while the daemon
// attaches, or after it has and before they know.
func killedInSetup(t *testing.T, g *gate, daemon *follower, victims func(way) []int, after bool) *container {
	t.Helper()
	c := &container{user: "alice", name: nameOf(t)}
	removeAfter(t, c.user, c.name)
	t.Cleanup(g.open) // before the removal
	reached := g.close("ADD")
	run := begin(t, c.user, runArgs(c.name, "--network", gateNet)...)
	reached()
	killed := victims(wayOf(t, c.user))
	if after {
		kill(t, "STOP", killed...)
		from := daemon.now()
		g.open()
		daemon.await(t, from, "msg=attach", "container_name="+c.name, "outcome=ok")
	}
	kill(t, "KILL", killed...)
	g.open()
	run.end(t)
	c.id = must(t, c.user, "podman", "inspect", "--type", "container", "-f", "{{.Id}}", c.name)
	return c
}

func followDaemon(t *testing.T) *follower {
	t.Helper()
	daemon, err := follow("journalctl", "-f", "-n", "0", "-o", "cat", "-u", "net-porter")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(daemon.end)
	return daemon
}

// kill -9 on the way of a setup, while the daemon attaches and when it just has: the
// container can be started then, is what it would have been, and nothing else is there.
func TestKilledDuringSetup(t *testing.T) {
	requireLab(t)
	g, daemon := newGate(t), followDaemon(t)
	for _, victim := range victims {
		for _, moment := range []string{"during", "after"} {
			t.Run(victim.name+"/"+moment, func(t *testing.T) {
				c := killedInSetup(t, g, daemon, victim.of, moment == "after")
				c.startAgain(t)
				e := c.works(t, gateNet, "eth0", first, dhcpRange)
				first.aloneOn(t, e)
				agree(t)
				c.remove(t, first, e)
				nothingLeft(t)
			})
		}
	}
}

// A podman that was killed in its setup leaves the namespace mounted and does not know of
// it. So nobody asks for the end of what it had got, also when the container is removed,
// not started: it must not have got anything. Where the answer was on its way already, the
// attachment is in the user's list, and goes when the user says so.
func TestKilledDuringSetupAndRemoved(t *testing.T) {
	requireLab(t)
	g, daemon := newGate(t), followDaemon(t)
	for _, victim := range victims {
		t.Run(victim.name, func(t *testing.T) {
			c := killedInSetup(t, g, daemon, victim.of, false)
			c.podman(t, "rm", "-f", "-t", "0")
			nothingLeft(t)
		})
	}
	t.Run("all after", func(t *testing.T) {
		c := killedInSetup(t, g, daemon, victims[len(victims)-1].of, true)
		c.podman(t, "rm", "-f", "-t", "0")
		for _, a := range attachments(t, c.user) {
			must(t, c.user, "net-porter", "detach", "--container-id", a.ContainerID, "macvlan-gate")
		}
		nothingLeft(t)
	})
}

// kill -9 of the daemon in either half of `podman network reload`: the next one goes on
// with it, and gives back what the first has taken.
func TestDaemonKilledDuringReload(t *testing.T) {
	requireLab(t)
	g := newGate(t)
	c := start(t, "alice", "--network", gateNet)
	t.Cleanup(g.open) // before the removal
	before := c.works(t, gateNet, "eth0", first, dhcpRange)
	for _, half := range []string{"DEL", "ADD"} {
		reached := g.close(half)
		reload := begin(t, c.user, "podman", "network", "reload", c.name)
		reached()
		must(t, "root", "systemctl", "kill", "-s", "KILL", "net-porter.service")
		g.open()
		if err := reload.cmd.Wait(); err != nil {
			t.Errorf("killed in the middle of %s: %v: %s", half, err, reload.out.Bytes())
		}
		if after := c.works(t, gateNet, "eth0", first, dhcpRange); after != before {
			t.Errorf("after the reload the container has %v, before it had %v", after, before)
		}
		agree(t)
	}
	c.remove(t, first, before)
	nothingLeft(t)
}

// kill -9 on the way of a teardown, while the daemon detaches.
func TestKilledDuringTeardown(t *testing.T) {
	requireLab(t)
	g := newGate(t)
	for _, victim := range victims {
		t.Run(victim.name, func(t *testing.T) {
			c := start(t, "alice", "--network", gateNet)
			t.Cleanup(g.open) // before the removal
			before := c.works(t, gateNet, "eth0", first, dhcpRange)
			reached := g.close("DEL")
			stop := begin(t, c.user, "podman", "stop", c.name)
			reached()
			kill(t, "KILL", victim.of(wayOf(t, c.user))...)
			g.open()
			stop.end(t)

			c.startAgain(t)
			after := c.works(t, gateNet, "eth0", first, dhcpRange)
			if after != before {
				t.Errorf("the container has %v, before it had %v", after, before)
			}
			first.aloneOn(t, after)
			agree(t)
			c.remove(t, first, after)
			nothingLeft(t)
		})
	}
}
