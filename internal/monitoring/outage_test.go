package monitoring

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

var (
	dave    = testlab.User{UID: 60400, GID: 60400}
	mallory = testlab.User{UID: 60401, GID: 60401} // has no business on any resource
)

// outages is what happens to daemons, each of which is scraped under the name of its outage.
var outages = map[string]func(t *testing.T, w *watch){
	"down": daemonIsDown, "reload": configurationIsWrong, "dhcp": serverIsGone, "leases": leasesRunOut, "denied": manyAreDenied,
	"removal": removalFails, "parent": parentIsGone, "self-check": journalIsReadOnly, "limits": manyAreTurnedAway, "turns": pluginHangs,
	"descriptors": descriptorsRunOut, "nobody": nobodyIsScraped,
}

// Each outage raises its alerts, on the host where it is and on no other; a host on which
// all is as it should be raises none; and when it is over so are they. Then every query of
// the dashboard has something to show of it all.
func TestOutages(t *testing.T) {
	testlab.RequireRoot(t)
	// Before Prometheus starts, who does not like to have nothing to scrape: it takes a build.
	d := newHost(t, "", `{"type":"dhcp"}`)(newLAN(t))
	w := newWatch(t, "127.0.0.1:9090")
	h := w.add(t, d)
	works(t, h)
	t.Run("at once", func(t *testing.T) {
		for name, outage := range outages {
			t.Run(name, func(t *testing.T) { t.Parallel(); outage(t, w) })
		}
	})
	// By itself: tables of nftables are one daemon's for all the host.
	t.Run("enforcement", func(t *testing.T) { rulesAreTampered(t, w) })
	h.only()
	if t.Failed() {
		return
	}
	allFired(t, w)
	dashboard(t, w)
	promtool(t, h.Metrics(), "check", "metrics")
}

// works is what a host of many has all the time: who is denied now and then, and an attach that
// is no longer wanted.
func works(t *testing.T, h *host) {
	t.Helper()
	all := dave.Containers(t, 3)
	for _, c := range all {
		if status, answer := h.Attach(c.Sandbox, "lan", c.AttachBody()); status != http.StatusOK {
			t.Fatalf("attach: %d %s", status, answer)
		}
	}
	for range 3 {
		h.Attach(all[0].Sandbox, "no-such", all[0].AttachBody())
	}
	h.Detach(all[0].Sandbox, "lan", all[0].DetachBody())
}

var lans atomic.Int32

// newLAN makes a LAN with a parent link of its own.
func newLAN(t *testing.T, options ...testlab.LANOption) *testlab.LAN {
	t.Helper()
	return testlab.NewLAN(t, append(options, testlab.WithParent(fmt.Sprintf("lan%d", lans.Add(1))))...)
}

const static = `{"type":"static","addresses":[{"address":"192.0.2.50/24"}]}`

// newHost gives a function that makes a daemon with the resource lan on a LAN, for dave.
// Before macvlan its plugin runs a script, if there is one.
func newHost(t *testing.T, script, ipam string, options ...testlab.DaemonOption) func(*testlab.LAN) *testlab.Daemon {
	t.Helper()
	plugins := `{"type":"macvlan","master":%q,"ipam":` + ipam + `}`
	if script != "" {
		dir, err := os.MkdirTemp("/var/tmp", "plugins-")
		must(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		must(t, os.WriteFile(filepath.Join(dir, "script"), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		plugins = `{"type":"script"},` + plugins
		options = append(options, testlab.WithPluginDirs(dir))
	}
	return func(lan *testlab.LAN) *testlab.Daemon {
		return testlab.NewDaemon(t, append(options, testlab.WithResources(testlab.Resource{
			Name: "lan", Users: []testlab.User{dave}, Plugins: fmt.Sprintf(plugins, lan.ParentName),
			Keys: map[string]any{"dhcp": map[string]any{"timeout": "3s"}},
		}))...)
	}
}

func attached(t *testing.T, h *host) *testlab.Container {
	t.Helper()
	c := dave.Containers(t, 1)[0]
	if status, answer := h.Attach(c.Sandbox, "lan", c.AttachBody()); status != http.StatusOK {
		t.Fatalf("attach: %d %s", status, answer)
	}
	return c
}

func daemonIsDown(t *testing.T, w *watch) {
	h := w.add(t, newHost(t, "", static)(newLAN(t, testlab.WithoutServer())))
	h.Kill()
	h.raises(nothing, "NetPorterDown")
	h.Start()
	h.ends("NetPorterDown")
	h.raises(func() {
		h.Restart()
		until(t, "the new process is scraped", func() bool {
			return len(h.now(fmt.Sprintf("process_start_time_seconds == %f", h.Metric("process_start_time_seconds")))) > 0
		})
	}, "NetPorterRestarting")
	h.only("NetPorterDown", "NetPorterRestarting")
}

func configurationIsWrong(t *testing.T, w *watch) {
	h := w.add(t, newHost(t, "", static)(newLAN(t, testlab.WithoutServer())))
	h.Configure(func(config map[string]any) { config["no_such_key"] = true })
	h.raises(nothing, "NetPorterConfigReloadFailed")
	h.Configure(func(config map[string]any) { delete(config, "no_such_key") })
	h.ends("NetPorterConfigReloadFailed")
	h.only("NetPorterConfigReloadFailed")
}

// serverIsGone has a machine on the LAN send what is no DHCP, too.
func serverIsGone(t *testing.T, w *watch) {
	lan := newLAN(t)
	h := w.add(t, newHost(t, "", `{"type":"dhcp"}`)(lan))
	c := dave.Containers(t, 1)[0]
	attach := func() (int, []byte) { return h.Attach(c.Sandbox, "lan", c.AttachBody()) }
	status, answer := attach()
	if status != http.StatusOK {
		t.Fatalf("attach: %d %s", status, answer)
	}
	var made struct{ Interfaces []struct{ MAC string } }
	must(t, json.Unmarshal(answer, &made))
	mac, err := net.ParseMAC(made.Interfaces[0].MAC) // which it will have again
	must(t, err)
	h.Detach(c.Sandbox, "lan", c.DetachBody())
	lan.StopServer()
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() { sendNonsense(t, lan, mac, stop) })
	h.raises(func() { attach() }, "NetPorterAttachesFail", "NetPorterNoAttachSucceeds", "NetPorterFalseDHCPReplies")
	close(stop)
	sending.Wait()
	lan.StartServer()
	attach()
	h.ends("NetPorterNoAttachSucceeds")
	h.only("NetPorterAttachesFail", "NetPorterNoAttachSucceeds", "NetPorterFalseDHCPReplies")
}

// sendNonsense sends broken replies to a client from the server's port, until stop.
func sendNonsense(t *testing.T, lan *testlab.LAN, to net.HardwareAddr, stop <-chan struct{}) {
	// Up to the client's address (RFC 2131, section 2), and no further.
	reply := append(make([]byte, 28), to...)
	reply[0] = 2
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	err := lan.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, option := range []int{unix.SO_BROADCAST, unix.SO_REUSEADDR} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
				return err
			}
		}
		if err := unix.BindToDevice(fd, "lan0"); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 67}); err != nil {
			return err
		}
		for {
			select {
			case <-stop:
				return nil
			case <-tick.C:
				err := unix.Sendto(fd, reply, 0, &unix.SockaddrInet4{Port: 68, Addr: [4]byte{255, 255, 255, 255}})
				if err != nil {
					return err
				}
			}
		}
	})
	if err != nil {
		t.Errorf("cannot send: %v", err)
	}
}

// leasesRunOut is slow enough for each alert in its turn.
func leasesRunOut(t *testing.T, w *watch) {
	lan := newLAN(t, testlab.WithServer(testlab.ISCDhcpd, testlab.ISCDhcpd.Conf(testlab.Terms{Lease: 60 * time.Second, T1: time.Second, T2: 45 * time.Second})...))
	h := w.add(t, newHost(t, "", `{"type":"dhcp"}`)(lan))
	attached(t, h)
	lan.StopServer()
	h.raises(nothing, "NetPorterLeasesNotRenewed", "NetPorterLeasesNearExpiry", "NetPorterLeasesLost", "NetPorterAttachmentsFaulty")
	lan.StartServer()
	h.ends("NetPorterLeasesLost", "NetPorterAttachmentsFaulty")
	h.only("NetPorterLeasesNotRenewed", "NetPorterLeasesNearExpiry", "NetPorterLeasesLost", "NetPorterAttachmentsFaulty")
}

// manyAreDenied has one who asks over and over, and one who names the host's own namespace.
func manyAreDenied(t *testing.T, w *watch) {
	h := w.add(t, newHost(t, "", static)(newLAN(t, testlab.WithoutServer())))
	c := mallory.Containers(t, 1)[0]
	h.raises(func() { h.Attach(c.Sandbox, "lan", c.AttachBody()) }, "NetPorterDenials")
	h.only("NetPorterDenials")
	s := dave.SandboxInHostNet(t)
	stolen := filepath.Join(dave.Dir(t), "stolen")
	s.BindMount("/proc/self/ns/net", stolen)
	h.Attach(s, "lan", c.AttachBody(map[string]any{"netns": stolen}))
	h.raises(nothing, "NetPorterForeignRequests")
	h.only("NetPorterDenials", "NetPorterForeignRequests")
}

// pass is the end of a script that is the first plugin of a chain.
const pass = `; echo '{"cniVersion":"1.0.0"}'`

func removalFails(t *testing.T, w *watch) {
	mended := filepath.Join(testlab.PublicDir(t), "mended")
	h := w.add(t, newHost(t, fmt.Sprintf(`[ "$CNI_COMMAND" != DEL ] || [ -e %s ] || { echo '{"cniVersion":"1.0.0","code":100,"msg":"broken"}'; exit 1; }`, mended)+pass, static)(
		newLAN(t, testlab.WithoutServer())))
	c := attached(t, h)
	h.Detach(c.Sandbox, "lan", c.DetachBody())
	h.raises(nothing, "NetPorterDetachesFail")
	write(t, mended, "")
	h.Detach(c.Sandbox, "lan", c.DetachBody()) // the daemon would, too, but later
	h.ends("NetPorterDetachesFail")
	h.only("NetPorterDetachesFail")
}

func parentIsGone(t *testing.T, w *watch) {
	lan := newLAN(t, testlab.WithoutServer())
	h := w.add(t, newHost(t, "", static)(lan))
	attached(t, h)
	if out, err := exec.Command("ip", "link", "del", lan.ParentName).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.raises(nothing, "NetPorterResourceNotReady", "NetPorterAttachmentsFaulty")
	h.only("NetPorterResourceNotReady", "NetPorterAttachmentsFaulty")
}

func journalIsReadOnly(t *testing.T, w *watch) {
	h := w.add(t, newHost(t, "", static)(newLAN(t, testlab.WithoutServer())))
	dir := filepath.Join(h.StateDir, "attachments")
	must(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	must(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	h.raises(nothing, "NetPorterSelfCheckFailing")
	must(t, unix.Unmount(dir, unix.MNT_DETACH))
	h.ends("NetPorterSelfCheckFailing")
	h.only("NetPorterSelfCheckFailing")
}

func manyAreTurnedAway(t *testing.T, w *watch) {
	d := newHost(t, "", static)(newLAN(t, testlab.WithoutServer()))
	d.Configure(func(config map[string]any) { config["limits"] = map[string]any{"rate_per_user": 1} })
	h, s := w.add(t, d), dave.Run(t)
	h.raises(func() {
		for range 10 { // however long a look at the alerts takes
			s.HTTP(h.Socket, testlab.Request{Method: http.MethodGet, Path: "/v1/networks"})
		}
	}, "NetPorterTurnedAway")
	h.only("NetPorterTurnedAway")
}

func pluginHangs(t *testing.T, w *watch) {
	over := filepath.Join(testlab.PublicDir(t), "over")
	d := newHost(t, fmt.Sprintf(`while [ ! -e %s ]; do sleep 0.1; done`, over)+pass, static)(newLAN(t, testlab.WithoutServer()))
	d.Configure(func(config map[string]any) {
		config["limits"] = map[string]any{"plugin_runs": 1, "plugin_runs_per_user": 1}
	})
	h := w.add(t, d)
	var answered sync.WaitGroup
	for _, c := range dave.Containers(t, 2) {
		answered.Go(func() {
			if r, err := h.TryAttach(c.Sandbox, "lan", c.AttachBody()); err != nil || r.Status != http.StatusOK {
				t.Errorf("attach: %d %s (%v)", r.Status, r.Body, err)
			}
		})
	}
	h.raises(nothing, "NetPorterTurnsWaiting")
	write(t, over, "")
	answered.Wait()
	h.ends("NetPorterTurnsWaiting")
	h.only("NetPorterTurnsWaiting")
}

func descriptorsRunOut(t *testing.T, w *watch) {
	h := w.add(t, newHost(t, "", static)(newLAN(t, testlab.WithoutServer())))
	var was unix.Rlimit
	must(t, unix.Prlimit(h.PID(), unix.RLIMIT_NOFILE, nil, &was))
	s := dave.Run(t)
	h.raises(func() {
		open := len(h.FDs())
		if open < 120 { // so many that the rest is enough for all that the daemon does
			s.Dial(h.Socket)
		}
		few := unix.Rlimit{Cur: uint64(max(open, 100) * 12 / 10), Max: was.Max}
		must(t, unix.Prlimit(h.PID(), unix.RLIMIT_NOFILE, &few, nil))
	}, "NetPorterFewDescriptorsLeft")
	must(t, unix.Prlimit(h.PID(), unix.RLIMIT_NOFILE, &was, nil))
	h.ends("NetPorterFewDescriptorsLeft")
	h.only("NetPorterFewDescriptorsLeft")
}

// nobodyIsScraped is of a Prometheus of its own.
func nobodyIsScraped(t *testing.T, w *watch) {
	alone := newWatch(t, "127.0.0.1:9091")
	until(t, "NetPorterNotScraped", func() bool { return slices.Equal(alone.fired(t, ""), []string{"NetPorterNotScraped"}) })
	if fired := w.fired(t, ""); len(fired) > 0 {
		t.Errorf("where many are scraped, %q have fired", fired)
	}
}

func rulesAreTampered(t *testing.T, w *watch) {
	lan := newLAN(t, testlab.WithoutServer())
	d := newHost(t, "", static)(lan)
	d.Configure(func(config map[string]any) {
		config["resources"].([]any)[0].(map[string]any)["enforce"] = true
	})
	h := w.add(t, d)
	attached(t, h)
	for i := range 3 {
		nft(t, "flush ruleset")
		until(t, "the rules are restored, "+strconv.Itoa(i+1), func() bool { return h.Metric("net_porter_enforcement_restored_total") > float64(i) })
	}
	h.raises(nothing, "NetPorterEnforcementTampered")
	// A table with an owner is changed by nobody else, and goes with it (nft(8), "flags owner").
	owner := exec.Command("nft", "-i")
	stdin, err := owner.StdinPipe()
	must(t, err)
	must(t, owner.Start())
	_, err = io.WriteString(stdin, "delete table inet net_porter; add table inet net_porter { flags owner; }\n")
	must(t, err)
	h.raises(nothing, "NetPorterNotEnforced")
	stdin.Close()
	must(t, owner.Wait())
	nft(t, "delete table netdev net_porter") // of the owner's end nothing tells
	h.ends("NetPorterNotEnforced")
	h.only("NetPorterEnforcementTampered", "NetPorterNotEnforced")
}

func nft(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("nft", command).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s", command, err, out)
	}
}
