package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	upgrades    = 5
	perUser     = 25 // containers that run all the time
	runsBetween = 2  // of each user's between two upgrades, at least
)

// The daemon and the plugin are replaced while 50 containers run and two users start and
// remove others: no command fails, no container loses its address or the reply to a ping,
// and leases are renewed.
func TestUpgrade(t *testing.T) {
	requireLab(t)
	users := []string{"alice", "bob"}
	versions := [2]string{"upgrade-a", "upgrade-b"}
	folders := [2]string{buildVersion(t, versions[0]), buildVersion(t, versions[1])}
	t.Cleanup(func() {
		if err := script("install"); err != nil {
			t.Errorf("what the other tests are for is not back: %v", err)
		}
	})
	t.Cleanup(func() {
		for _, user := range users {
			must(t, user, "sh", "-c", "podman ps -aq | xargs -rn5 podman rm -f -t 0 >/dev/null")
		}
	})
	startFifty(t, users)
	before := map[holding]bool{}
	for _, user := range users {
		maps.Copy(before, running(t, user))
	}
	if len(before) != perUser*len(users) {
		t.Fatalf("%d containers run", len(before))
	}
	agree(t)
	pings := pingAll(t, before)
	daemon := followDaemon(t)

	since := second.now(t)
	loops := runInLoops(t, users)
	for n := range upgrades {
		from := daemon.now()
		for file, target := range map[string]string{"net-porter": "/usr/bin/net-porter", "netavark-plugin": "/usr/lib/netavark/net-porter"} {
			if err := script("push", filepath.Join(folders[n%2], file), target); err != nil {
				t.Fatal(err)
			}
		}
		must(t, "root", "systemctl", "restart", "net-porter.service")
		daemon.await(t, from, "net-porter is ready", "version="+versions[n%2])
		loops.more(runsBetween)
	}
	renewed := second.now(t)
	for h := range before {
		second.log.await(t, renewed, "DHCPACK", h.addr.String()+" "+h.mac)
	}
	t.Logf("%d upgrades, %d runs", upgrades, loops.end())
	for h := range before {
		if second.log.has(since, "DHCPDISCOVER", h.mac) {
			t.Errorf("%v was looked for anew", h)
		}
	}
	pings()
	agree(t)
	for _, user := range users {
		for h := range running(t, user) {
			if !before[h] {
				t.Errorf("%v was not there before", h)
			}
			delete(before, h)
		}
	}
	for h := range before {
		t.Errorf("%v is gone", h)
	}
}

// buildVersion builds the daemon and the plugin with a version of their own.
func buildVersion(t *testing.T, version string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	args := []string{"build", "-buildvcs=false", "-o", dir + "/", "-ldflags", "-s -w -X github.com/net-porter/net-porter/internal/version.version=" + version}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if testlab.Race {
		args, env = append(args, "-race"), append(env, "CGO_ENABLED=1")
	}
	build := exec.Command("go", append(args, "../../cmd/net-porter", "../../cmd/netavark-plugin")...)
	build.Env = env
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s: %v: %s", version, err, out)
	}
	return dir
}

// startFifty starts the containers, each user's one after the other.
func startFifty(t *testing.T, users []string) {
	t.Helper()
	var starting sync.WaitGroup
	for _, user := range users {
		starting.Go(func() {
			for i := range perUser {
				// On the LAN where leases are renewed every four seconds.
				r := labExec(user, runArgs(fmt.Sprintf("stays-%d", i), "--network", dhcp2Net)...)
				if r.code != 0 {
					t.Errorf("%s cannot run container %d: %s", user, i, r.stderr)
					return
				}
			}
		})
	}
	starting.Wait()
}

// pingAll has the neighbour ping every container twice a second, until the function that
// it returns is called, which checks that there was a reply to each.
func pingAll(t *testing.T, all map[holding]bool) (end func()) {
	t.Helper()
	// Interrupted, ping says how many replies it had, of which the last may be on its way.
	// A reply that comes late counts: how busy the machine is, is not what this is about.
	args := []string{"systemd-run", "--quiet", "--collect", "--unit=pings", "-p", "KillMode=process",
		"-p", "NetworkNamespacePath=/run/netns/" + second.neighbour, "bash", "-c", `
			rm -rf /run/pings && mkdir /run/pings
			for a; do ping -n -i 0.5 "$a" >"/run/pings/$a" & done
			trap 'kill -INT $(jobs -p)' TERM
			while [ -n "$(jobs -pr)" ]; do wait; done`, "bash"}
	for h := range all {
		args = append(args, h.addr.String())
	}
	must(t, "root", args...)
	stop := func() { lab(t, "root", "systemctl", "stop", "pings.service") }
	t.Cleanup(stop)
	return func() {
		t.Helper()
		stop()
		said := must(t, "root", "grep", "-r", " received", "/run/pings")
		totals := pingTotals.FindAllStringSubmatch(said, -1)
		if len(totals) != len(all) {
			t.Errorf("%d of %d containers were pinged to the end:\n%s", len(totals), len(all), said)
		}
		for _, n := range totals {
			if sent, received := number(n[1]), number(n[2]); received == 0 || received < sent-1 {
				t.Errorf("pings had no reply: %s", n[0])
			}
		}
	}
}

// pingTotals matches what ping says at its end.
var pingTotals = regexp.MustCompile(`(?m)^.*?(\d+) packets transmitted, (\d+) received.*$`)

// number is that of digits.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// loops are users who run one container after another.
type loops struct {
	stop chan struct{}
	ran  map[string]chan struct{} // a value for each run
	all  sync.WaitGroup
	mu   sync.Mutex
	runs int
}

func runInLoops(t *testing.T, users []string) *loops {
	l := &loops{stop: make(chan struct{}), ran: map[string]chan struct{}{}}
	for _, user := range users {
		ran := make(chan struct{}, 10000) // more than there will be
		l.ran[user] = ran
		l.all.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				// The first LAN, so that the second's servers and links are the fifty's alone.
				r := labExec(user, "podman", "run", "--rm", "--network", dhcpNet, "localhost/bb", "ip", "-4", "addr", "show", "dev", "eth0")
				if r.code != 0 || !strings.Contains(r.stdout, " inet 192.0.2.") || r.stderr != "" {
					t.Errorf("%s: podman run: exit status %d: %s%s", user, r.code, r.stdout, r.stderr)
				}
				l.mu.Lock()
				l.runs++
				l.mu.Unlock()
				ran <- struct{}{}
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

// more waits until every user has run some more.
func (l *loops) more(n int) {
	for _, ran := range l.ran {
		for range len(ran) {
			<-ran // those of before
		}
	}
	for _, ran := range l.ran {
		for range n {
			<-ran
		}
	}
}

// end ends the loops, and returns how many runs there were.
func (l *loops) end() int {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.all.Wait()
	return l.runs
}
