package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// seed of TestRandom, for one that has failed: each user does the same again, though not
// at the same moments.
var seed = flag.Uint64("e2e.seed", 1, "seed of TestRandom")

const (
	stepsOfUser = 40
	stepsToEnd  = 8 // of both users, from one end of the daemon to the next, about
)

// networksOf are the users of TestRandom, and what each chooses from.
var networksOf = map[string][]string{"alice": {dhcpNet, dhcp2Net, staticNet}, "bob": {dhcpNet, dhcp2Net}}

// Two users do what users and misfortune do, each with three containers, while the daemon
// is restarted and killed. No command fails that podman itself does not fail, and in the
// end there is what should be there, and nothing else.
func TestRandom(t *testing.T) {
	requireLab(t)
	t.Logf("-e2e.seed=%d", *seed)
	steps := make(chan struct{}, stepsToEnd) // so that users do not leave the daemon behind
	var daemon sync.WaitGroup
	// Not a subtest, of which there may be as many at once as the machine has processors.
	daemon.Go(func() { endDaemons(t, steps) })
	t.Run("users", func(t *testing.T) {
		for user := range networksOf {
			t.Run(user, func(t *testing.T) {
				t.Parallel()
				u := &actor{user: user, random: rand.New(rand.NewPCG(*seed, uint64(user[0])))}
				for range stepsOfUser {
					u.step(t)
					steps <- struct{}{}
				}
			})
		}
	})
	close(steps)
	daemon.Wait()
	must(t, "root", "systemctl", "start", "net-porter.service") // or wait until systemd has
	agree(t)
	for user := range networksOf {
		for h := range running(t, user) {
			l := first
			if second.prefix.Contains(h.addr) {
				l = second
			}
			l.reaches(t, h.addr)
			l.aloneOn(t, h.endpoint)
		}
		removeAll(t, user)
	}
	nothingLeft(t)
}

// endDaemons restarts and kills the daemon again and again while there are steps of users.
func endDaemons(t *testing.T, steps <-chan struct{}) {
	random, ends := rand.New(rand.NewPCG(*seed, 0)), 0
	for range steps {
		if random.IntN(stepsToEnd) > 0 {
			continue
		}
		ends++
		command := []string{"systemctl", "restart", "net-porter.service"}
		if random.IntN(2) == 0 {
			command = []string{"systemctl", "kill", "-s", "KILL", "net-porter.service"}
		}
		if r := labExec("root", command...); r.code != 0 {
			t.Errorf("%s: exit status %d: %s", strings.Join(command, " "), r.code, r.stderr)
		}
	}
	t.Logf("the daemon ended %d times", ends)
}

// actor is a user at work.
type actor struct {
	user   string
	random *rand.Rand
}

// step does one thing to one container.
func (u *actor) step(t *testing.T) {
	t.Helper()
	c := &container{user: u.user, name: fmt.Sprintf("random-%d", u.random.IntN(3))}
	network := networksOf[u.user][u.random.IntN(len(networksOf[u.user]))]
	n := u.random.IntN(12) // drawn whatever comes of it, so that a seed means the same steps
	state := lab(t, u.user, "podman", "inspect", "--type", "container", "-f", "{{.State.Status}}", c.name)
	switch running := strings.TrimSpace(state.stdout) == "running"; {
	case state.code != 0:
		must(t, u.user, runArgs(c.name, "--network", network)...)
	case !running && n < 8:
		c.podman(t, "start")
	case !running:
		c.podman(t, "rm", "-f")
	case n < 2:
		c.stopAnyhow(t)
	case n < 4:
		c.stopAnyhow(t)
		c.podman(t, "start")
	case n < 5:
		c.podman(t, "network", "reload")
	case n < 6:
		c.stopAnyhow(t)
		c.podman(t, "rm", "-f", "-t", "0")
	case n < 7:
		u.kill(t, c.inspect(t).State.ConmonPid)
		c.startAgain(t)
	case n < 9:
		u.kill(t, c.inspect(t).State.Pid)
	case n < 11:
		d := c.inspect(t)
		u.kill(t, d.State.ConmonPid, d.State.Pid)
		c.startAgain(t)
	default:
		// Podman finds its namespaces again by the monitor of any container; without one it
		// wants `podman system migrate`, which crashes over a container that has lost its own.
		c.stopAnyhow(t)
		c.podman(t, "start")
		u.kill(t, pause(t, u.user))
	}
}

// kill kills the user's processes, as the user, since pids may be other processes' by now
// and podman tells for a moment that what was killed is there.
func (u *actor) kill(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if pid == 0 { // it has ended by itself; as an argument it means kill itself
			continue
		}
		lab(t, u.user, "kill", "-9", fmt.Sprint(pid))
	}
}
