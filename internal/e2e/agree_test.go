package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// holding is an interface of a container with its address, as somebody knows it.
type holding struct {
	container string // its id
	endpoint
}

func (h holding) String() string { return fmt.Sprintf("%v %s of %.12s", h.addr, h.mac, h.container) }

// agree checks that podman, the daemon, the links on the LANs, the DHCP servers,
// host-local's files and the state folder are of one mind about who has which address,
// and that no address is two containers'. It is for tests that run alone.
func agree(t testing.TB) {
	t.Helper()
	// Not all of it changes at the same moment, and nothing tells when all has.
	eventually(t, func() string { return strings.Join(disagreements(t), "\n") })
}

func disagreements(t testing.TB) (all []string) {
	t.Helper()
	believed := map[holding]bool{}
	for _, user := range []string{"alice", "bob"} {
		maps.Copy(believed, running(t, user))
	}
	compare := func(who string, has map[string]bool, of func(holding) string) {
		want := map[string]bool{}
		for h := range believed {
			if key := of(h); key != "" {
				want[key] = true
			}
		}
		for _, key := range slices.Sorted(maps.Keys(has)) {
			if !want[key] {
				all = append(all, fmt.Sprintf("%s: has %s, which podman does not know", who, key))
			}
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if !has[key] {
				all = append(all, fmt.Sprintf("%s: lacks %s, which podman believes in", who, key))
			}
		}
	}
	owners := map[netip.Addr]string{}
	for h := range believed {
		if other, taken := owners[h.addr]; taken {
			all = append(all, fmt.Sprintf("%v is an address of two containers, %.12s and %.12s", h.addr, h.container, other))
		}
		owners[h.addr] = h.container
	}

	attached := map[string]bool{}
	for _, a := range attachments(t, "root") {
		attached[a.held().String()] = true
		if a.State != "attached" {
			all = append(all, fmt.Sprintf("the daemon: %s of %s is %s", a.InterfaceName, a.ContainerID, a.State))
		}
	}
	compare("the daemon", attached, holding.String)

	for _, l := range []*lan{first, second} {
		links, err := l.macs()
		if err != nil {
			t.Fatal(err)
		}
		compare("the parent link "+l.parent, setOf(links), func(h holding) string {
			if !l.prefix.Contains(h.addr) {
				return ""
			}
			return h.mac
		})
		compare("the DHCP server of "+l.domain, l.leasesHeld(t), func(h holding) string {
			if !l.prefix.Contains(h.addr) || h.addr.As4()[3] > dhcpRange[1] {
				return ""
			}
			return h.addr.String() + " " + h.mac
		})
	}
	files := must(t, "root", "sh", "-c", "find /var/lib/cni -name '192.0.2.*' -printf '%f\n' 2>/dev/null || true")
	compare("host-local", setOf(strings.Fields(files)), func(h holding) string {
		if !first.prefix.Contains(h.addr) || h.addr.As4()[3] < fixedRange[0] {
			return ""
		}
		return h.addr.String()
	})
	compare("the journal", idsIn(must(t, "root", "find", "/var/lib/net-porter/attachments", "-type", "f", "-printf", "%f\n")),
		func(h holding) string { return h.container })
	for _, id := range slices.Sorted(maps.Keys(idsIn(must(t, "root", "find", "/var/lib/net-porter", "-mindepth", "2", "-printf", "%f\n")))) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(believed)), func(h holding) bool { return h.container == id }) {
			all = append(all, "the state folder: has something of "+id)
		}
	}
	return all
}

// running is what podman believes that a user's running containers have.
func running(t testing.TB, user string) map[holding]bool {
	t.Helper()
	out := must(t, user, "sh", "-c", `ids=$(podman ps -aq --no-trunc) || exit; [ -z "$ids" ] && echo '[]' || podman inspect --type container $ids`)
	var all []details
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("cannot understand podman inspect: %v", err)
	}
	has := map[holding]bool{}
	for _, c := range all {
		if !c.State.Running {
			continue
		}
		for _, n := range c.NetworkSettings.Networks {
			addr, _ := netip.ParseAddr(n.IPAddress) // without one it is nobody's idea of an address
			has[holding{c.ID, endpoint{addr, n.MacAddress}}] = true
		}
	}
	return has
}

// leasesHeld are the addresses and MACs of the server's IPv4 leases.
func (l *lan) leasesHeld(t testing.TB) map[string]bool {
	t.Helper()
	held := map[string]bool{}
	for line := range strings.Lines(must(t, "root", "cat", l.leases)) {
		// As in lease; the DUID of the server, and its IPv6 leases, have other fields.
		if fields := strings.Fields(line); len(fields) == 5 && strings.Contains(fields[1], ":") {
			held[fields[2]+" "+fields[1]] = true
		}
	}
	return held
}

// idsIn are the container ids in names "<uid>.<container id>@<interface>...".
func idsIn(names string) map[string]bool {
	ids := map[string]bool{}
	for _, name := range strings.Fields(names) {
		name, _, _ = strings.Cut(name, "@")
		if _, id, ok := strings.Cut(name, "."); ok && len(id) == 64 {
			ids[id] = true
		}
	}
	return ids
}

func setOf(values []string) map[string]bool {
	set := map[string]bool{}
	for _, v := range values {
		set[v] = true
	}
	return set
}

// aloneOn checks that one machine, and no other, answers on the LAN for an endpoint's address.
// For others it waits a second, as arping does after the last question.
func (l *lan) aloneOn(t testing.TB, e endpoint) {
	t.Helper()
	out := must(t, "root", "ip", "netns", "exec", l.neighbour, "busybox", "arping", "-b", "-c", "1", "-I", "eth0", e.addr.String())
	if strings.Count(strings.ToLower(out), "reply from "+e.addr.String()+" ["+e.mac+"]") != strings.Count(strings.ToLower(out), "reply from") {
		t.Errorf("others than %s answer for %v:\n%s", e.mac, e.addr, out)
	}
}
