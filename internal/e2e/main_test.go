package e2e

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/labhost"
)

func TestMain(m *testing.M) {
	if !labhost.Enabled() {
		if os.Getenv("CI") != "" && os.Geteuid() == 0 {
			fmt.Println("e2e: left out here; the suite is run by `make test`, which sets " + labhost.EnableEnv + "=1")
		}
		os.Exit(m.Run())
	}
	os.Exit(runInLab(m))
}

// requireLab skips a test that has no lab to run in, and says so.
func requireLab(t *testing.T) {
	t.Helper()
	labhost.Require(t)
}

// runInLab runs the tests between the start and the end of a lab.
func runInLab(m *testing.M) (code int) {
	if err := labhost.Name("e2e"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	fail := func(what string, err error) int {
		fmt.Fprintf(os.Stderr, "e2e: %s: %v\n", what, err)
		return 1
	}
	if !labhost.Kept() {
		// One that was interrupted may have left its lab.
		if err := script("down"); err != nil {
			return fail("cannot take an old lab down", err)
		}
		defer func() {
			if err := script("down"); err != nil {
				code = fail("cannot take the lab down", err)
			}
		}()
	}
	if err := script("up"); err != nil {
		return fail("cannot boot the lab", err)
	}
	if err := script("install"); err != nil {
		return fail("cannot install net-porter (`make build cni` builds it)", err)
	}
	if err := prepare(); err != nil {
		return fail("cannot prepare the lab", err)
	}
	defer stopFollowing()
	code = m.Run()
	// The kernel takes the last namespaces apart after their end, and the daemon's check of
	// itself writes a file now and then.
	err := leftovers()
	for end := time.Now().Add(patience); err != nil && time.Now().Before(end); err = leftovers() {
		time.Sleep(100 * time.Millisecond) // nobody tells
	}
	if err != nil {
		code = fail("something is left behind after all tests", err)
	}
	// Of daemons with the race detector (scripts/test-race), over all their starts.
	if races := labExec("root", "journalctl", "-u", "net-porter", "--no-pager", "-o", "cat", "--grep", "DATA RACE"); races.code == 0 {
		code = fail("a daemon has a race", errors.New("the log has it in whole: journalctl -u net-porter"))
	}
	if code != 0 {
		log := labExec("root", "journalctl", "-u", "net-porter", "-n", "200", "--no-pager", "-o", "cat")
		fmt.Fprintf(os.Stderr, "e2e: the daemon's log:\n%s\n", log.stdout)
	}
	return code
}

// script runs a command of scripts/lab, its words on this process's stderr.
func script(args ...string) error { return labhost.Script("lab", nil, args...) }

// The networks that the users have made, each on a resource of the lab's
// configuration (scripts/lab.d/net-porter).
const (
	dhcpNet   = "net-porter" // as the README has it
	dhcp2Net  = "second"
	ipv6Net   = "six"
	staticNet = "fixed"
	gateNet   = "gate" // DHCP, and the plugin scripts/lab.d/rootfs/opt/cni/bin/gate
)

// prepare makes the users' networks with the commands of the README, which also is
// the test of `network create`, and starts to follow the logs.
func prepare() error {
	networks := []struct{ user, name, resource string }{
		{"alice", dhcpNet, "macvlan-dhcp"},
		{"alice", dhcp2Net, "macvlan-dhcp2"},
		{"alice", ipv6Net, "macvlan-ipv6"},
		{"alice", staticNet, "macvlan-static"},
		{"alice", gateNet, "macvlan-gate"},
		{"bob", dhcpNet, "macvlan-dhcp"},
		{"bob", dhcp2Net, "macvlan-dhcp2"},
	}
	for _, n := range networks {
		// In a lab that was kept they may be there.
		r := labExec(n.user, "podman", "network", "create", "--ignore", "-d", "net-porter",
			"-o", "net_porter_resource="+n.resource, "-o", "net_porter_socket=/run/net-porter.sock", n.name)
		if r.code != 0 {
			return fmt.Errorf("%s cannot create the network %s: %s", n.user, n.name, r.stderr)
		}
	}
	return startFollowing()
}
