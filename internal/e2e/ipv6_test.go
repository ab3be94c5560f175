package e2e

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

// An address of each family by DHCP: podman knows both, the neighbour reaches both, and
// the next container of the name has the same ones.
func TestIPv6(t *testing.T) {
	requireLab(t)
	t.Parallel()
	name := nameOf(t)
	var before endpoint
	var before6 string
	for i := range 2 {
		c := startNamed(t, "alice", name, "--network", ipv6Net)
		e := c.works(t, ipv6Net, "eth0", second, dhcpRange)
		var all []struct {
			NetworkSettings struct {
				Networks map[string]struct{ GlobalIPv6Address string }
			}
		}
		if err := json.Unmarshal([]byte(must(t, "alice", "podman", "inspect", "--type", "container", name)), &all); err != nil {
			t.Fatal(err)
		}
		six := all[0].NetworkSettings.Networks[ipv6Net].GlobalIPv6Address
		addr, err := netip.ParseAddr(six)
		if err != nil || !netip.MustParsePrefix("2001:db8:2::/64").Contains(addr) {
			t.Fatalf("podman says that the IPv6 address is %q", six)
		}
		if inside := c.exec(t, "ip", "-o", "-6", "addr", "show", "dev", "eth0"); !strings.Contains(inside, " "+six+"/128 ") {
			t.Errorf("inside there is:\n%s", inside)
		}
		second.reaches(t, addr)
		if i > 0 && (e != before || six != before6) {
			t.Errorf("the container has %v and %s, the one before had %v and %s", e, six, before, before6)
		}
		before, before6 = e, six
		since := second.now(t)
		c.podman(t, "rm", "-f", "-t", "0")
		second.released(t, since, e)
		second.log.await(t, since, "DHCPRELEASE", "00:04:")
		c.gone(t, second, e)
	}
}
