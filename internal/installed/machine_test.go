package installed

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/labhost"
)

// patience bounds every command and every wait: an installation of podman with all that it
// wants takes half a minute, and much longer on a slow disk.
const patience = 10 * time.Minute

// run runs a command on the machine as a user, and returns what it wrote and its exit
// status, -1 if it could not be run or took longer than patience.
func run(t testing.TB, user string, args ...string) (said string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := labhost.Command(ctx, user, args...)
	cmd.WaitDelay = time.Second // what a killed command has started may hold the pipes
	out, err := cmd.CombinedOutput()
	exit := new(exec.ExitError)
	switch {
	case ctx.Err() != nil:
		return string(out) + "killed: it took too long", -1
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	case err != nil:
		return err.Error(), -1
	}
	return strings.TrimSuffix(string(out), "\n"), 0
}

// must runs a command that has to succeed.
func must(t testing.TB, user string, args ...string) string {
	t.Helper()
	said, code := run(t, user, args...)
	if code != 0 {
		t.Fatalf("%s: %s: exit status %d: %s", user, strings.Join(args, " "), code, said)
	}
	return said
}

// shell runs lines of sh(1) as root, which have to succeed.
func shell(t testing.TB, lines string) string {
	t.Helper()
	return must(t, "root", "sh", "-ec", lines)
}

// apt runs apt-get as an administrator does who asks for no questions.
func apt(t testing.TB, args ...string) string {
	t.Helper()
	return must(t, "root", append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-q", "-o", "Dpkg::Use-Pty=0"}, args...)...)
}

// put copies a package of ours to the machine, which is all that it has of us.
func put(t testing.TB, version string) (path string) {
	t.Helper()
	path = "/root/" + filepath.Base(deb(version))
	if err := labhost.Script("lab", nil, "push", deb(version), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// says checks that each of the words is in a text.
func says(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("nobody is told %q, but:\n%s", word, text)
		}
	}
}

// eventually asks again and again until wrong has nothing to say. It is for what no
// event tells of; each caller says what that is.
func eventually(t testing.TB, wrong func() string) {
	t.Helper()
	labhost.Eventually(t, patience, 200*time.Millisecond, wrong)
}

// container is a container of the user podman on one of the two LANs.
type container struct {
	name, network  string
	neighbour, log string // the LAN's other machine, and its DHCP server's log
	addr, mac      string
}

// look reads what podman says that the container has, and checks that the LAN agrees.
func (c *container) look(t testing.TB) {
	t.Helper()
	said := must(t, "podman", "podman", "inspect", "--type", "container", "-f",
		fmt.Sprintf("{{with index .NetworkSettings.Networks %q}}{{.IPAddress}} {{.MacAddress}}{{end}}", c.network), c.name)
	if _, err := fmt.Sscan(said, &c.addr, &c.mac); err != nil {
		t.Fatalf("podman says that %s has %q", c.name, said)
	}
	must(t, "root", "grep", "-q", " "+c.mac+" "+c.addr+" ", c.leases())
	must(t, "root", "ip", "netns", "exec", c.neighbour, "ping", "-q", "-c", "1", "-w", "30", c.addr)
}

func (c *container) leases() string {
	return strings.Replace(strings.TrimSuffix(c.log, "-dnsmasq.log"), "/var/log/", "/var/lib/", 1) + "/leases"
}

// same checks that the container has what it had.
func (c *container) same(t testing.TB, when string) {
	t.Helper()
	before := *c
	if c.look(t); *c != before {
		t.Errorf("%s %s has %s %s, it had %s %s", when, c.name, c.addr, c.mac, before.addr, before.mac)
	}
}

// logged counts the lines of the DHCP server's log that are of the container and of one of
// the kinds, such as "DHCPACK|DHCPRELEASE".
func (c *container) logged(t testing.TB, kinds string) (n int) {
	t.Helper()
	said, _ := run(t, "root", "sh", "-c", fmt.Sprintf("grep -E '%s' %s | grep -c %s", kinds, c.log, c.mac))
	if _, err := fmt.Sscan(said, &n); err != nil {
		t.Fatalf("cannot count: %s", said)
	}
	return n
}
