package doctor

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// Each server that would answer a container is found, none gives an address away, and
// nothing is left on the host.
func TestSurvey(t *testing.T) {
	testlab.RequireRoot(t)
	lan := testlab.NewLAN(t, testlab.WithParent("survey"))
	before := linkNames(t)
	if servers := surveyed(t, lan.ParentName); !slices.Equal(servers, []string{"192.0.2.1"}) {
		t.Errorf("one server: found %v", servers)
	}
	second := lan.AddServer(testlab.ISCDhcpd)
	second.Start()
	if servers := surveyed(t, lan.ParentName); !slices.Equal(servers, []string{"192.0.2.1", "192.0.2.2"}) {
		t.Errorf("two servers: found %v", servers)
	}
	if strings.Contains(lan.Log(), "DHCPREQUEST") || strings.TrimSpace(lan.Leases()) != "" {
		t.Errorf("an address was taken:\n%s\n%s", lan.Log(), lan.Leases())
	}
	lan.StopServer()
	second.Stop()
	if servers := surveyed(t, lan.ParentName); len(servers) != 0 {
		t.Errorf("no server: found %v", servers)
	}
	if after := linkNames(t); !slices.Equal(before, after) {
		t.Errorf("links before %v, after %v", before, after)
	}
	for _, c := range []struct {
		link, words string
		before      func() error
	}{
		{"nowhere0", "no such link", func() error { return nil }},
		{lan.ParentName, "no carrier", func() error { return lan.Do(func() error { return down("lan0") }) }},
		{lan.ParentName, "ip link set survey up", func() error { return down(lan.ParentName) }},
	} {
		if err := c.before(); err != nil {
			t.Fatal(err)
		}
		if _, err := survey(context.Background(), c.link, time.Hour); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", c.link, err, c.words)
		}
	}
}

func down(link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.LinkSetDown(l)
}

func surveyed(t *testing.T, link string) (servers []string) {
	t.Helper()
	offers, err := survey(context.Background(), link, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range offers {
		servers = append(servers, o.Server.String())
	}
	slices.Sort(servers)
	return servers
}

func linkNames(t *testing.T) (names []string) {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	slices.Sort(names)
	return names
}

// Also of a probe that is killed nothing is left on the host's parent.
func TestKilledSurvey(t *testing.T) {
	testlab.RequireRoot(t)
	lan := testlab.NewLAN(t, testlab.WithParent("killed"))
	probe := exec.Command("/proc/self/exe")
	probe.Env = append(os.Environ(), probeEnv+"="+lan.ParentName)
	if err := probe.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { probe.Process.Kill() })
	lan.WaitLog("DHCPOFFER")
	if macs := macvlansOn(t, lan.ParentName); len(macs) != 1 {
		t.Errorf("macvlans while it asks: %v", macs)
	}
	if err := probe.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	probe.Wait()
	// The kernel takes a namespace apart some time after its end, and tells nobody.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	patience := time.After(2 * time.Minute)
	for macs := macvlansOn(t, lan.ParentName); len(macs) > 0; macs = macvlansOn(t, lan.ParentName) {
		select {
		case <-again.C:
		case <-patience:
			t.Fatalf("macvlans after its end: %v", macs)
		}
	}
	if strings.TrimSpace(lan.Leases()) != "" {
		t.Errorf("an address was taken: %s", lan.Leases())
	}
}

// macvlansOn are the MACs of macvlans that are up on a link, in whatever namespace: it has
// to receive what is for them.
func macvlansOn(t *testing.T, link string) (macs []string) {
	t.Helper()
	parent, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := netlink.NeighList(parent.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.HardwareAddr[0]&1 == 0 { // no multicast
			macs = append(macs, e.HardwareAddr.String())
		}
	}
	return macs
}
