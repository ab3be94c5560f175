package e2e

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const (
	enableEnv  = "NET_PORTER_E2E"
	keepEnv    = "NET_PORTER_LAB_KEEP"
	labNameEnv = "NET_PORTER_LAB_NAME"
)

func TestMain(m *testing.M) {
	if !enabled() {
		if os.Getenv("CI") != "" && os.Geteuid() == 0 {
			fmt.Println("e2e: left out here; the suite is run by `make test`, which sets " + enableEnv + "=1")
		}
		os.Exit(m.Run())
	}
	os.Exit(runInLab(m))
}

func enabled() bool { return os.Geteuid() == 0 && os.Getenv(enableEnv) == "1" }

// requireLab skips a test that has no lab to run in, and says so.
func requireLab(t *testing.T) {
	t.Helper()
	if !enabled() {
		t.Skip("LEFT OUT: needs root and " + enableEnv + "=1 (`make test` as root sets it), as it boots a host of its own")
	}
}

// runInLab runs the tests between the start and the end of a lab.
func runInLab(m *testing.M) (code int) {
	if err := os.Setenv(labNameEnv, cmp.Or(os.Getenv(labNameEnv), "e2e")); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	fail := func(what string, err error) int {
		fmt.Fprintf(os.Stderr, "e2e: %s: %v\n", what, err)
		return 1
	}
	if os.Getenv(keepEnv) == "" {
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
	if err := leftovers(); err != nil {
		code = fail("something is left behind after all tests", err)
	}
	if code != 0 {
		log := labExec("root", "journalctl", "-u", "net-porter", "-n", "200", "--no-pager", "-o", "cat")
		fmt.Fprintf(os.Stderr, "e2e: the daemon's log:\n%s\n", log.stdout)
	}
	return code
}

// labScript is scripts/lab: tests run in their package's folder.
func labScript() string {
	path, err := filepath.Abs("../../scripts/lab")
	if err != nil {
		panic(err) // the working directory is gone
	}
	return path
}

// script runs a command of scripts/lab, its words on this process's stderr.
func script(args ...string) error {
	cmd := exec.Command(labScript(), args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// The networks that the users have made, each on a resource of the lab's
// configuration (scripts/lab.d/net-porter).
const (
	dhcpNet   = "net-porter" // as the README has it
	dhcp2Net  = "second"
	ipv6Net   = "six"
	staticNet = "fixed"
)

// prepare makes the users' networks with the commands of the README, which also is
// the test of `network create`, and starts to follow the logs.
func prepare() error {
	networks := []struct{ user, name, resource string }{
		{"alice", dhcpNet, "macvlan-dhcp"},
		{"alice", dhcp2Net, "macvlan-dhcp2"},
		{"alice", ipv6Net, "macvlan-ipv6"},
		{"alice", staticNet, "macvlan-static"},
		{"bob", dhcpNet, "macvlan-dhcp"},
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
