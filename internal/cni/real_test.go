package cni_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/net-porter/net-porter/internal/cni"
)

func TestMacvlanStatic(t *testing.T) {
	r, c := realRunner(t), newContainer(t)
	n := chain(t, fmt.Sprintf(`{"type":"macvlan","master":%q,"ipam":{"type":"static","addresses":[{"address":"192.0.2.7/24","gateway":"192.0.2.1"}]}}`, parent(t)))
	result, err := r.Add(t.Context(), n, c.invocation())
	if err != nil {
		t.Fatal(err)
	}
	link, ips := c.link()
	if link == nil || len(ips) != 1 || ips[0] != "192.0.2.7/24" {
		t.Fatalf("the container has %v, %v", link, ips)
	}
	if len(result.Interfaces) != 1 || result.Interfaces[0].Mac != link.Attrs().HardwareAddr.String() || result.IPs[0].Gateway.String() != "192.0.2.1" {
		t.Errorf("result %+v", result)
	}
	c.reopen()
	if err := r.Check(t.Context(), n, c.invocation()); err != nil {
		t.Errorf("CHECK by another descriptor: %v", err)
	}
	for range 2 {
		if err := r.Del(t.Context(), n, c.invocation()); err != nil {
			t.Error(err)
		}
		c.mustHaveNoLink()
	}
	if err := r.Check(t.Context(), n, c.invocation()); err == nil {
		t.Error("CHECK is content with an interface that is gone")
	}
}

func TestBridgeHostLocalTuningPortmap(t *testing.T) {
	r, c := realRunner(t), newContainer(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Fatal("portmap needs nft, install nftables: ", err)
	}
	t.Cleanup(func() {
		if bridge, err := netlink.LinkByName("br-test"); err == nil {
			_ = netlink.LinkDel(bridge)
		}
	})
	ipam, leases := hostLocal(t, "")
	n := chain(t, `{"type":"bridge","bridge":"br-test","isGateway":true,`+ipam+`}`,
		fmt.Sprintf(`{"type":"tuning","dataDir":%q,"mtu":1400,"sysctl":{"net.ipv4.conf.IFNAME.arp_notify":"1"}}`, t.TempDir()),
		`{"type":"portmap","backend":"nftables","capabilities":{"portMappings":true}}`)
	inv := c.invocation()
	inv.CapabilityArgs = map[string]any{"portMappings": []map[string]any{{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}}}
	if _, err := r.Add(t.Context(), n, inv); err != nil {
		t.Fatal(err)
	}
	link, ips := c.link()
	if link == nil || link.Attrs().MTU != 1400 || len(ips) != 1 || len(leased(t, leases)) != 1 {
		t.Fatalf("the container has %v, %v", link, ips)
	}
	if !strings.Contains(ruleset(t), "8080") {
		t.Errorf("no port is mapped: %s", ruleset(t))
	}
	if err := r.Check(t.Context(), n, inv); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	inv.CapabilityArgs = nil
	for range 2 {
		if err := r.Del(t.Context(), n, inv); err != nil {
			t.Error(err)
		}
		c.mustHaveNoLink()
	}
	if left := leased(t, leases); len(left) != 0 || strings.Contains(ruleset(t), "8080") {
		t.Errorf("left behind: addresses %v, rules %s", left, ruleset(t))
	}
}

func ruleset(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestHintedAddressComesBack(t *testing.T) {
	r, c := realRunner(t), newContainer(t)
	ipam, _ := hostLocal(t, "")
	n := chain(t, fmt.Sprintf(`{"type":"macvlan","master":%q,%s}`, parent(t), ipam))
	wanted := netip.MustParseAddr("192.0.2.77")
	hinted := n.WithAddressHints([]netip.Addr{wanted, wanted, netip.MustParseAddr("198.51.100.1")})
	result, err := r.Add(t.Context(), hinted, c.invocation())
	if err != nil {
		t.Fatal(err)
	}
	if got := result.IPs[0].Address.IP.String(); got != "192.0.2.77" {
		t.Errorf("got %s", got)
	}
	if err := r.Del(t.Context(), n, c.invocation()); err != nil {
		t.Error(err)
	}
}

func TestDeadNamespaceReleasesItsAddress(t *testing.T) {
	for _, main := range []string{"macvlan", "bridge"} {
		t.Run(main, func(t *testing.T) {
			r, c := realRunner(t), newContainer(t)
			ipam, leases := hostLocal(t, "")
			n := chain(t, fmt.Sprintf(`{"type":%q,"master":%q,"bridge":"br-dead",%s}`, main, parent(t), ipam),
				fmt.Sprintf(`{"type":"tuning","dataDir":%q,"mtu":1400}`, t.TempDir()), `{"type":"sbr"}`)
			t.Cleanup(func() {
				if bridge, err := netlink.LinkByName("br-dead"); err == nil {
					_ = netlink.LinkDel(bridge)
				}
			})
			inv := c.invocation()
			if _, err := r.Add(t.Context(), n, inv); err != nil {
				t.Fatal(err)
			}
			c.die()
			inv.NetNS = ""
			for range 2 {
				if err := r.Del(t.Context(), n, inv); err != nil {
					t.Error(err)
				}
			}
			if left := leased(t, leases); len(left) != 0 {
				t.Errorf("still leased: %v", left)
			}
		})
	}
}

// A macvlan whose IPAM fails leaves its link, on which the next ADD would fail.
func TestFailedADDIsUndoneByDEL(t *testing.T) {
	r, c, first := realRunner(t), newContainer(t), newContainer(t)
	ipam, leases := hostLocal(t, `,"rangeStart":"192.0.2.5","rangeEnd":"192.0.2.5"`)
	n := chain(t, fmt.Sprintf(`{"type":"macvlan","master":%q,%s}`, parent(t), ipam))
	taken := first.invocation()
	taken.ContainerID += ".first"
	if _, err := r.Add(t.Context(), n, taken); err != nil {
		t.Fatal(err)
	}
	_, err := r.Add(t.Context(), n, c.invocation())
	var failure *cni.PluginError
	if !errors.As(err, &failure) || failure.Plugin != "macvlan" || !strings.Contains(failure.Message, "no IP addresses available") {
		t.Fatalf("got %v", err)
	}
	if err := r.Del(t.Context(), n, c.invocation()); err != nil {
		t.Error(err)
	}
	c.mustHaveNoLink()
	if left := leased(t, leases); len(left) != 1 {
		t.Errorf("the undo touched the neighbour: %v", left)
	}
	if err := r.Del(t.Context(), n, taken); err != nil {
		t.Error(err)
	}
	if _, err := r.Add(t.Context(), n, c.invocation()); err != nil {
		t.Errorf("ADD after the undo: %v", err)
	}
	if err := r.Del(t.Context(), n, c.invocation()); err != nil {
		t.Error(err)
	}
}

// Without CHECK: sbr (v1.9.1) moves the routes to a table of its own, where the CHECK
// of macvlan and bridge does not look for them.
func TestSourceBasedRouting(t *testing.T) {
	r, c := realRunner(t), newContainer(t)
	n := chain(t, fmt.Sprintf(`{"type":"macvlan","master":%q,"ipam":{"type":"static","addresses":[{"address":"192.0.2.7/24","gateway":"192.0.2.1"}]}}`, parent(t)), `{"type":"sbr"}`)
	rules := func() int {
		h, err := netlink.NewHandleAt(netns.NsHandle(c.fd))
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		found, err := h.RuleList(netlink.FAMILY_V4)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	before := rules()
	if _, err := r.Add(t.Context(), n, c.invocation()); err != nil {
		t.Fatal(err)
	}
	if rules() != before+1 {
		t.Errorf("%d routing rules, %d before", rules(), before)
	}
	for range 2 {
		if err := r.Del(t.Context(), n, c.invocation()); err != nil {
			t.Error(err)
		}
	}
	if c.mustHaveNoLink(); rules() != before {
		t.Errorf("%d routing rules, %d before", rules(), before)
	}
}

// The plugin does not say which link: Masters does.
func TestMissingParentLinkIsSaid(t *testing.T) {
	r, c := realRunner(t), newContainer(t)
	n := chain(t, `{"type":"macvlan","master":"nowhere","ipam":{"type":"static","addresses":[{"address":"192.0.2.7/24"}]}}`)
	_, err := r.Add(t.Context(), n, c.invocation())
	var failure *cni.PluginError
	if !errors.As(err, &failure) || !strings.Contains(failure.Message, "Link not found") {
		t.Errorf("got %v", err)
	}
	if err := r.Del(t.Context(), n, c.invocation()); err != nil {
		t.Error(err)
	}
}
