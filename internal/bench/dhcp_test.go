package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	leased    = "bench-dhcp"        // macvlan with dhcp
	unchecked = "bench-dhcp-no-arp" // the same, without the search for address conflicts
	foreign   = "bench-dhcp-cni"    // the same with CNI's own daemon, for cnitool
	linkName  = "bench0"            // of the exchange alone
	patience  = 10 * time.Second    // for an exchange, before the benchmark fails

	acquired = `net_porter_dhcp_exchange_duration_seconds_count{ip_version="4",kind="acquire",outcome="ok"}`
)

// measureDHCP attaches by DHCP in turn with cnitool and CNI's own daemon, on the same
// LAN. Both sides count from the start of a process that is run once per container to
// its end, cnitool and the plugin, except where HTTP alone is said. CNI's daemon has no
// address conflict detection; net-porter's is measured with it, as it is by default.
func (l *lab) measureDHCP(t *table) {
	l.progress("attach and detach of macvlan with dhcp, beside CNI's own daemon")
	l.startCNIDaemon()
	x := l.exchange()
	c, u := l.container(0, leased), l.container(1, unchecked)
	before := l.daemon.Metric(acquired)
	m := medians(l.b, dhcpRounds,
		x.open, x.acquire, x.release,
		func() { c.cnitool("add", foreign) }, func() { c.cnitool("del", foreign) },
		c.attach, c.detach,
		c.setup, c.teardown,
		u.attach, u.detach)
	if n := l.daemon.Metric(acquired) - before; n != 3*dhcpRounds {
		l.b.Fatalf("net-porter has acquired %.0f leases in %d attaches: it is not its lease service that was measured", n, 3*dhcpRounds)
	}
	exchange, add, del := m[1], m[3], m[4]
	beyond := func(d time.Duration) string { return milliseconds(d) + " (exchange " + more(d, exchange) + ")" }
	barred := func(what string, d time.Duration) {
		bar := "<= exchange +" + milliseconds(maxBeyond) + ", < cnitool add"
		t.barred(what, beyond(d), bar, d-exchange <= maxBeyond && d < add)
	}
	t.fact("DHCP, the exchange alone", milliseconds(exchange))
	t.fact("DHCP attach, cnitool add with CNI's daemon", beyond(add))
	barred("DHCP attach, HTTP to the daemon", m[5])
	barred("DHCP attach, whole path (the plugin's process)", m[7])
	t.fact("DHCP attach, HTTP, without conflict detection", beyond(m[9]))
	t.fact("DHCP detach, cnitool del with CNI's daemon", milliseconds(del))
	t.fact("DHCP detach, HTTP to the daemon", milliseconds(m[6])+" ("+more(m[6], del)+")")
	t.fact("DHCP detach, whole path (the plugin's process)", milliseconds(m[8])+" ("+more(m[8], del)+")")
}

// dhcpChain is macvlan with dhcp, and with more keys of ipam, each after a comma.
func (l *lab) dhcpChain(more string) string {
	return fmt.Sprintf(`{"type":"macvlan","master":%q,"ipam":{"type":"dhcp"%s}}`, testlab.LANParent, more)
}

func (l *lab) dhcpSocket() string { return filepath.Join(l.dir, "cni-dhcp.sock") }

// startCNIDaemon starts CNI's own dhcp daemon. It gets its socket as from systemd
// (sd_listen_fds(3)): so calls can be made at once, and nobody has to wait for it.
func (l *lab) startCNIDaemon() {
	l.b.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: l.dhcpSocket(), Net: "unix"})
	l.must(err)
	defer func() { listener.SetUnlinkOnClose(false); listener.Close() }()
	socket, err := listener.File()
	l.must(err)
	defer socket.Close()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" daemon`, built("cni/dhcp"))
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), "LISTEN_FDS=1"), []*os.File{socket}
	l.must(cmd.Start())
	l.b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// exchange is net-porter's DHCP client with nothing around it: on a macvlan that stays
// up, with sockets that are open, and without conflict detection.
type exchange struct {
	lab    *lab
	ns     *testlab.Netns
	config dhcp4.Config
	client *dhcp4.Client
	held   grant.Grant
}

func (l *lab) exchange() *exchange {
	l.b.Helper()
	x := &exchange{lab: l, ns: l.lan.NewContainerNS(linkName), config: dhcp4.Config{
		Params: dhcp4.Params{
			ClientID: []byte("\x00bench"),
			Requested: []byte{ // as the daemon does
				dhcp4.OptSubnetMask, dhcp4.OptClasslessRoutes, dhcp4.OptRouters, dhcp4.OptStaticRoutes, dhcp4.OptMTU, dhcp4.OptNTP,
				dhcp4.OptDNS, dhcp4.OptDomainName, dhcp4.OptDomainSearch,
			},
		},
		Log: slog.New(slog.DiscardHandler), BadFrame: func() {},
	}}
	l.must(x.ns.Do(func() error {
		l.command(exec.Command("ip", "link", "set", linkName, "up"))
		dev, err := net.InterfaceByName(linkName)
		if err == nil {
			x.config.Index, x.config.MAC = dev.Index, dev.HardwareAddr
		}
		return err
	}))
	return x
}

func (x *exchange) open() {
	x.lab.b.Helper()
	x.lab.must(x.ns.Do(func() (err error) {
		x.client, err = dhcp4.Open(x.config)
		return err
	}))
}

// acquire is what is measured: DISCOVER, OFFER, REQUEST, ACK.
func (x *exchange) acquire() {
	x.lab.b.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, grant.ErrTimeout)
	defer cancel()
	var err error
	x.held, err = x.client.Acquire(ctx, grant.Wish{})
	x.lab.must(err)
}

// release returns when the server is done with it, so that it does not work while the
// next thing is measured.
func (x *exchange) release() {
	x.lab.b.Helper()
	x.lab.must(x.client.Release(context.Background(), x.held))
	x.client.Close()
	x.lab.lan.Server().WaitFree(x.held.Address.Addr())
}
