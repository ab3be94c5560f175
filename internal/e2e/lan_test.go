package e2e

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// lan is one LAN of the lab (scripts/lab.d/rootfs).
type lan struct {
	parent    string // the host's link
	neighbour string // network namespace of another machine on it
	prefix    netip.Prefix
	dns       string
	domain    string
	leases    string // dnsmasq's lease file
	logFile   string
	log       *follower
}

// The two LANs, and the address ranges that their DHCP servers and host-local give out.
var (
	first = &lan{
		parent: "infra", neighbour: "neighbour", prefix: netip.MustParsePrefix("192.0.2.0/24"),
		dns: "192.0.2.1", domain: "lan.example",
		leases: "/var/lib/lan/leases", logFile: "/var/log/lan-dnsmasq.log",
	}
	second = &lan{
		parent: "infra2", neighbour: "neighbour2", prefix: netip.MustParsePrefix("198.51.100.0/24"),
		dns: "198.51.100.1", domain: "lan2.example",
		leases: "/var/lib/lan2/leases", logFile: "/var/log/lan2-dnsmasq.log",
	}
	dhcpRange  = [2]byte{100, 199} // on both, the last byte of the address
	fixedRange = [2]byte{200, 220}
)

func startFollowing() error {
	for _, l := range []*lan{first, second} {
		var err error
		if l.log, err = follow("tail", "-n", "+1", "-s", "0.1", "-F", l.logFile); err != nil {
			return err
		}
	}
	return nil
}

// now is the place in the log where the DHCP server has come to. tail(1) tells of lines
// some time later (it polls on the lab's overlay), so a line of ours is put there and waited for.
func (l *lan) now(t testing.TB) int {
	t.Helper()
	mark := "e2e: mark " + rand.Text()
	must(t, "root", "sh", "-c", `echo "$1" >>"$2"`, "sh", mark, l.logFile)
	l.log.await(t, 0, mark)
	return l.log.now()
}

func stopFollowing() {
	for _, l := range []*lan{first, second} {
		if l.log != nil {
			l.log.end()
		}
	}
}

// endpoint is what a container has on a LAN.
type endpoint struct {
	addr netip.Addr
	mac  string
}

// inRange checks that an address is one that the LAN gives out.
func (l *lan) inRange(t testing.TB, addr netip.Addr, bounds [2]byte) {
	t.Helper()
	if !addr.Is4() || !l.prefix.Contains(addr) || addr.As4()[3] < bounds[0] || addr.As4()[3] > bounds[1] {
		t.Errorf("the container's address is %v, want one of %v from .%d to .%d", addr, l.prefix, bounds[0], bounds[1])
	}
}

// reaches checks that another machine on the LAN gets a reply from the address.
func (l *lan) reaches(t testing.TB, addr netip.Addr) {
	t.Helper()
	if r := lab(t, "root", "ip", "netns", "exec", l.neighbour, "ping", "-q", "-c", "1", "-w", "30", addr.String()); r.code != 0 {
		t.Errorf("the neighbour gets no reply from %v: %s%s", addr, r.stdout, r.stderr)
	}
}

// lease returns the host name in the DHCP server's lease for the endpoint, "*" where
// it has none; ok is false when there is no lease.
func (l *lan) lease(t testing.TB, e endpoint) (hostname string, ok bool) {
	t.Helper()
	for line := range strings.Lines(must(t, "root", "cat", l.leases)) {
		// Expiry, MAC, address, host name, client id (dnsmasq(8), --dhcp-leasefile).
		if fields := strings.Fields(line); len(fields) == 5 && fields[1] == e.mac && fields[2] == e.addr.String() {
			return fields[3], true
		}
	}
	return "", false
}

// leased checks that the DHCP server has a lease for the endpoint under a host name.
func (l *lan) leased(t testing.TB, e endpoint, hostname string) {
	t.Helper()
	// dnsmasq replies before it writes the file, and says nothing when it has.
	eventually(t, func() string {
		got, ok := l.lease(t, e)
		if !ok {
			return fmt.Sprintf("the DHCP server has no lease for %v", e)
		}
		if got != hostname {
			return fmt.Sprintf("the lease for %v has the host name %q, want %q", e, got, hostname)
		}
		return ""
	})
}

// released checks that the DHCP server was given the lease back, since a place in its log.
func (l *lan) released(t testing.TB, since int, e endpoint) {
	t.Helper()
	l.log.await(t, since, "DHCPRELEASE", e.addr.String()+" "+e.mac)
	// dnsmasq logs before it writes the file, and says nothing when it has.
	eventually(t, func() string {
		if _, ok := l.lease(t, e); ok {
			return fmt.Sprintf("the DHCP server still has a lease for %v", e)
		}
		return ""
	})
}

// macs returns the MACs of all macvlan interfaces that are up on the LAN's parent, in
// whatever namespace: each is in the parent's list of addresses to receive.
func (l *lan) macs() ([]string, error) {
	r := labExec("root", "bridge", "-j", "fdb", "show", "dev", l.parent)
	if r.code != 0 {
		return nil, errors.New(r.stderr)
	}
	var entries []struct{ MAC string }
	if err := json.Unmarshal([]byte(r.stdout), &entries); err != nil {
		return nil, err
	}
	var macs []string
	for _, e := range entries {
		if !strings.HasPrefix(e.MAC, "33:33:") && !strings.HasPrefix(e.MAC, "01:00:5e:") { // multicast
			macs = append(macs, e.MAC)
		}
	}
	return macs, nil
}

// unplugged checks that no interface on the parent has the MAC any more.
func (l *lan) unplugged(t testing.TB, mac string) {
	t.Helper()
	// The kernel takes a namespace that died apart some time later, and tells nobody
	// who has no id for it.
	eventually(t, func() string {
		macs, err := l.macs()
		if err != nil {
			return err.Error()
		}
		if slices.Contains(macs, mac) {
			return fmt.Sprintf("an interface with the MAC %s is still on %s", mac, l.parent)
		}
		return ""
	})
}

// leftovers says what is left of attachments on the whole host: links, records, files.
func leftovers() error {
	var left []error
	for _, l := range []*lan{first, second} {
		macs, err := l.macs()
		if err != nil {
			left = append(left, err)
		}
		if len(macs) > 0 {
			left = append(left, fmt.Errorf("interfaces on %s: %q", l.parent, macs))
		}
	}
	for what, command := range map[string][]string{
		"links in the host's namespace": {"ip", "-o", "link", "show", "type", "macvlan"},
		"files in the state folder":     {"find", "/var/lib/net-porter", "-mindepth", "2"},
		// The folder is not there before its first use.
		"addresses that host-local has given out": {"sh", "-c", "find /var/lib/cni -name '192.0.2.*' 2>/dev/null || true"},
	} {
		if r := labExec("root", command...); r.code != 0 || r.stdout != "" {
			left = append(left, fmt.Errorf("%s: %s%s", what, r.stdout, r.stderr))
		}
	}
	return errors.Join(left...)
}

// nothingLeft checks that there are no attachments on the whole host: for tests that
// run alone.
func nothingLeft(t testing.TB) {
	t.Helper()
	// As in unplugged.
	eventually(t, func() string {
		if err := leftovers(); err != nil {
			return err.Error()
		}
		return ""
	})
}
