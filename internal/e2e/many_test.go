package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// together starts n containers of each user, all at the same time, checks that each
// has an address of its own, and removes them together.
func together(t *testing.T, n int, users ...string) {
	var (
		mu         sync.Mutex
		containers []*container
		wait       sync.WaitGroup
	)
	for _, user := range users {
		for i := range n {
			name := fmt.Sprintf("%s-%d", nameOf(t), i)
			removeAfter(t, user, name)
			wait.Go(func() {
				r := labExec(user, runArgs(name, "--network", dhcpNet)...)
				if r.code != 0 {
					t.Errorf("%s cannot run %s: %s", user, name, r.stderr)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				containers = append(containers, &container{user: user, name: name, id: strings.TrimSpace(r.stdout)})
			})
		}
	}
	wait.Wait()
	owners := map[netip.Addr]string{}
	endpoints := map[*container]endpoint{}
	for _, c := range containers {
		e := c.works(t, dhcpNet, "eth0", first, dhcpRange)
		if other, taken := owners[e.addr]; taken {
			t.Errorf("%s of %s has the address %v, and so has %s", c.name, c.user, e.addr, other)
		}
		owners[e.addr] = c.name + " of " + c.user
		endpoints[c] = e
	}
	since := first.now(t)
	for _, c := range containers {
		wait.Go(func() {
			if r := labExec(c.user, "podman", "rm", "-f", "-t", "0", c.name); r.code != 0 {
				t.Errorf("%s cannot remove %s: %s", c.user, c.name, r.stderr)
			}
		})
	}
	wait.Wait()
	for _, c := range containers {
		first.released(t, since, endpoints[c])
		c.gone(t, first, endpoints[c])
	}
}

func TestManyContainersAtOnce(t *testing.T) {
	requireLab(t)
	t.Parallel()
	together(t, 8, "alice")
}

// Their containers have the same names, which is nobody's business but theirs.
func TestTwoUsersAtOnce(t *testing.T) {
	requireLab(t)
	t.Parallel()
	together(t, 4, "alice", "bob")
}
