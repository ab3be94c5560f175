package dhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/net-porter/net-porter/internal/testlab"
)

// released asserts that dnsmasq has taken the address back.
func released(t *testing.T, lan *testlab.LAN, addr netip.Addr) {
	t.Helper()
	lan.WaitLog("DHCPRELEASE(lan0) " + addr.String())
	lan.Server().WaitLeases("did not honour the release", func(leases string) bool { return !strings.Contains(leases, addr.String()) })
	if strings.Contains(lan.Log(), "unknown lease") {
		t.Errorf("the server did not honour the release:\n%s", lan.Log())
	}
}

func TestMacvlanPluginsWholeLife(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithDnsmasq("--dhcp-option=option:classless-static-route,"+
		"203.0.113.5/32,0.0.0.0,0.0.0.0/0,203.0.113.5,192.0.2.0/24,0.0.0.0,198.51.100.0/24,10.9.9.9"))
	h := newHarness(t)
	ns := testlab.NewNetns(t)
	e := h.expect(Attachment{Namespace: ns})
	r := h.result(h.plugin("macvlan", "ADD", testID, ns.Path(), ""))
	addr, _ := netip.AddrFromSlice(r.IPs[0].Address.IP.To4())
	lan.Ping(addr)
	var routes string
	if err := ns.Do(func() error {
		out, err := exec.Command("ip", "route").CombinedOutput()
		routes = string(out)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(routes, "default via 203.0.113.5 dev eth0") || !strings.Contains(routes, "203.0.113.5 dev eth0 scope link") {
		t.Errorf("routes:\n%s", routes)
	}
	e.Done()

	h.expect(Attachment{Namespace: ns})
	if _, err := output(h.plugin("macvlan", "DEL", testID, ns.Path(), "")); err != nil {
		t.Fatal(err)
	}
	released(t, lan, addr)
}

func TestReleaseAfterRestart(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	e := h.expect(Attachment{Namespace: ns})
	h.add(testID, ns, seedIPAM)
	e.Done()
	before := h.held()
	h.restart()
	lease := h.held()
	if lease.Address != before.Address || lease.Acquired != before.Acquired || string(lease.ClientID()) != string(before.ClientID()) {
		t.Fatalf("after the restart %+v, before %+v", lease, before)
	}
	h.expect(Attachment{Namespace: ns})
	h.del(testID, ns.Path())
	released(t, lan, lease.Address.Addr())
	if files, _ := os.ReadDir(h.opts.LeaseDir); len(files) != 0 {
		t.Errorf("lease files left: %v", files)
	}
	h.del(testID, ns.Path()) // again: nothing to do, no error
}

func TestReleaseWithoutNamespaceDropsTheLease(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	e := h.expect(Attachment{Namespace: ns})
	h.add(testID, ns, seedIPAM)
	e.Done()
	h.expect(Attachment{})
	h.del(testID, "")
	h.wantNoLease()
}

// The container's root cannot keep a lease from being given back: where the interface
// is no way to the server any more, the parent link is.
func TestReleaseWhateverBecameOfTheLink(t *testing.T) {
	for name, change := range map[string][][]string{
		"removed": {{"link", "del", testIfname}},
		"down":    {{"link", "set", testIfname, "down"}},
		"renamed": {{"link", "set", testIfname, "down"}, {"link", "set", testIfname, "name", "mine"}, {"link", "set", "mine", "up"}},
	} {
		t.Run(name, func(t *testing.T) {
			lan := testlab.NewLAN(t)
			h := newHarness(t)
			ns := lan.NewContainerNS(testIfname)
			e := h.expect(Attachment{Namespace: ns})
			addr, _ := netip.AddrFromSlice(h.add(testID, ns, seedIPAM).IPs[0].Address.IP.To4())
			e.Done()
			index := indexOf(t, ns)
			if err := ns.Do(func() error {
				for _, args := range change {
					if err := ip(args...); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			h.expect(Attachment{Namespace: ns, Index: index})
			h.del(testID, ns.Path())
			h.wantNoLease()
			released(t, lan, addr)
		})
	}
}

func indexOf(t *testing.T, ns *testlab.Netns) (index int) {
	t.Helper()
	if err := ns.Do(func() error {
		dev, err := net.InterfaceByName(testIfname)
		if err == nil {
			index = dev.Index
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return index
}

func TestLeaseOfAnAbandonedAttachIsReleased(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	e := h.expect(Attachment{Namespace: ns})
	// The moment between the server's ACK and the answer to the plugin.
	h.obs.during = func(kind, _ string) {
		if kind == "acquire" {
			e.cancel(ErrCanceled)
		}
	}
	if _, err := output(h.plugin("dhcp", "ADD", testID, ns.Path(), seedIPAM)); err == nil {
		t.Fatal("ADD succeeded")
	}
	lan.WaitLog("DHCPRELEASE(lan0)")
	lan.Server().WaitLeases("still has a lease", func(leases string) bool { return leases == "" })
	if !errors.Is(e.Err(), ErrCanceled) {
		t.Errorf("Err() = %v", e.Err())
	}
	h.wantNoLease()
}

func TestExchangeEndsWithThePluginThatAskedForIt(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithoutServer())
	h := newHarness(t) // the timeout is far longer than this test
	ns := lan.NewContainerNS(testIfname)
	started := make(chan struct{})
	h.expect(Attachment{Namespace: &hookedNamespace{Namespace: ns, after: func() { close(started) }}})
	cmd := h.plugin("dhcp", "ADD", testID, ns.Path(), seedIPAM)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := <-h.obs.exchanges; got != "acquire canceled" {
		t.Errorf("observed %q", got)
	}
}

func TestDoneEndsTheExchange(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithoutServer())
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	started := make(chan struct{})
	e := h.expect(Attachment{Namespace: &hookedNamespace{Namespace: ns, after: func() { close(started) }}})
	failed := make(chan error, 1)
	cmd := h.plugin("dhcp", "ADD", testID, ns.Path(), seedIPAM)
	go func() {
		_, err := output(cmd)
		failed <- err
	}()
	<-started
	e.Done()
	if got := <-h.obs.exchanges; got != "acquire canceled" {
		t.Errorf("observed %q", got)
	}
	if err := <-failed; err == nil {
		t.Error("ADD succeeded")
	}
}

// hookedNamespace calls after when the first Do is over.
type hookedNamespace struct {
	Namespace
	after func()
}

func (n *hookedNamespace) Do(fn func() error) error {
	err := n.Namespace.Do(fn)
	if after := n.after; after != nil {
		n.after = nil
		after()
	}
	return err
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}

func setLink(t *testing.T, name, state string) {
	t.Helper()
	if err := ip("link", "set", name, state); err != nil {
		t.Fatal(err)
	}
}

func macOf(t *testing.T, ns *testlab.Netns) string {
	t.Helper()
	var mac string
	if err := ns.Do(func() error {
		dev, err := net.InterfaceByName(testIfname)
		if err == nil {
			mac = dev.HardwareAddr.String()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return mac
}

// deathOf puts one end of a veth pair into ns; the returned function waits until the
// kernel removes the other with the namespace.
func deathOf(t *testing.T, ns *testlab.Netns) func() {
	t.Helper()
	const name = "canary"
	if err := ip("link", "add", name, "type", "veth", "peer", "name", "canary1", "netns", ns.Path()); err != nil {
		t.Fatal(err)
	}
	updates, done := make(chan netlink.LinkUpdate, 100), make(chan struct{})
	t.Cleanup(func() { close(done) })
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		for {
			if _, err := netlink.LinkByName(name); errors.As(err, &netlink.LinkNotFoundError{}) {
				return
			}
			select {
			case <-updates:
			case <-time.After(2 * time.Minute):
				holders, _ := filepath.Glob("/proc/self/fd/*")
				t.Fatalf("the namespace still lives; descriptors: %v", holders)
			}
		}
	}
}
