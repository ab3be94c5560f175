package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// inNetns runs a command of the user's in a namespace of theirs.
func inNetns(s *testlab.Sandbox, ns, command string) {
	s.Exec("nsenter", "--net="+ns, "sh", "-c", command)
}

// wantLinks fails the test unless these and the loopback are the links of a namespace.
func wantLinks(t *testing.T, s *testlab.Sandbox, ns string, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(s.Links(ns), func(name string) bool { return name == "lo" })
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the links in the container are %v, want %v", got, want)
	}
}

// onLAN counts the macvlans in a namespace.
func onLAN(s *testlab.Sandbox, ns string) int {
	return strings.Count(s.Exec("nsenter", "--net="+ns, "ip", "-o", "link", "show", "type", "macvlan"), "\n")
}

// A user renames what they are given, to keep it past its detach or to be given more.
func TestRenamedInterface(t *testing.T) {
	testlab.NewLAN(t)
	d := start(t, setup{conflists: map[string]string{
		"lan":  staticConflist,
		"dhcp": `{"cniVersion":"1.0.0","name":"dhcp","plugins":[{"type":"macvlan","master":"infra","ipam":` + dhcpIPAM + `}]}`,
	}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	attach := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}
	for _, resource := range []string{"lan", "dhcp"} {
		for _, shown := range []string{ns, ""} {
			t.Run(fmt.Sprintf("%s, detached with the namespace %q", resource, shown), func(t *testing.T) {
				if _, r := d.attach(s, resource, attach); r.Status != http.StatusOK {
					t.Fatalf("attach: %d %s", r.Status, r.Body)
				}
				inNetns(s, ns, "ip link set eth0 name mine")
				_, r := d.attach(s, resource, attach)
				wantProblem(t, r, api.AlreadyAttached)
				if r := d.detach(s, resource, api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: shown}); r.Status != http.StatusNoContent {
					t.Errorf("detach: %d %s", r.Status, r.Body)
				}
				wantLinks(t, s, ns)
				d.wantNothingLeft()
			})
		}
	}
}

// Root in a container makes more interfaces out of the one that it is given. They go with it.
func TestInterfacesOnTop(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	attach := func(ifname string) {
		t.Helper()
		if _, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: ifname, Netns: ns}); r.Status != http.StatusOK {
			t.Fatalf("attach: %d %s", r.Status, r.Body)
		}
	}
	attach("eth1")
	for _, shown := range []string{ns, ""} {
		for _, also := range []string{"", "; ip link del eth0"} {
			attach("eth0")
			inNetns(s, ns, "ip link add mine link eth0 type macvlan && ip link set mine up && ip link add on-mine link mine type macvlan; ip link add own type bridge"+also)
			if r := d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: shown}); r.Status != http.StatusNoContent {
				t.Errorf("detach with the namespace %q: %d %s", shown, r.Status, r.Body)
			}
			wantLinks(t, s, ns, "eth1", "own")
			inNetns(s, ns, "ip link del own")
		}
	}
}

// A user changes names while plugins work by them. The second plugin stands for a user
// who comes between any two steps of the first, and for its death there.
func TestInterfaceSnatchedWhileMade(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	const (
		second  = `cat >/dev/null; in="nsenter --net=$CNI_NETNS ip link"; test "$CNI_COMMAND" = ADD || exit 0; test $CNI_IFNAME = eth0 || { `
		succeed = `; }; echo '{"cniVersion":"1.0.0","interfaces":[{"name":"'$CNI_IFNAME'","mac":"02:00:00:00:00:01","sandbox":"'$CNI_NETNS'"}]}'`
		fail    = `; echo '{"code":100,"msg":"cannot find the link"}'; exit 1` + succeed
		found   = "while it was being made"
	)
	for _, tt := range []struct {
		name, script, log string
		left              int
	}{
		{"renamed, and the plugin fails", `$in set eth1 name mine` + fail, "cannot find the link", 1},
		{"given so many names that the kernel leaves it out of its list", `for i in $(seq 300); do
			printf "link property add dev eth1 altname a%0120d\n" $i; done | nsenter --net=$CNI_NETNS ip -batch -; $in set eth1 name mine` + fail, "cannot find the link", 1},
		{"renamed", `$in set eth1 name mine` + succeed, found, 1},
		{"replaced by one of the user's", `$in set eth1 name mine; $in add eth1 type bridge` + succeed, found, 1},
		// The plugins remove what has the name. That it is another the user has seen to.
		{"replaced by another of the container's", `$in set eth1 name mine; $in set eth0 name eth1` + succeed, found, 0},
		{"one more", `ip link add link infra name more netns $CNI_NETNS type macvlan` + succeed, found, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, setup{
				conflists: map[string]string{"lan": chained("fake")}, pluginDirs: pluginDirs(t, "fake", second+tt.script),
			})
			s, dir := sandboxWithDir(t, alice)
			ns := container(t, s, dir)
			q := api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}
			if _, r := d.attach(s, "lan", q); r.Status != http.StatusOK {
				t.Fatalf("attach: %d %s", r.Status, r.Body)
			}
			q.InterfaceName = "eth1"
			if _, r := d.attach(s, "lan", q); r.Status == http.StatusOK {
				t.Errorf("attach: %s", r.Body)
			}
			d.log.waitFor(t, tt.log)
			if records := d.manager.List(); len(records) != 1 || records[0].Interface != "eth0" {
				t.Errorf("records: %v", records)
			}
			if left := onLAN(s, ns); left != tt.left {
				t.Errorf("%d links of the container are on the LAN, want %d", left, tt.left)
			}
			d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0"})
			if left := onLAN(s, ns); left != 0 {
				t.Errorf("%d links of the container are on the LAN after its detach", left)
			}
		})
	}
}

// A user's program takes every new link as fast as it can. Whatever it wins, in the
// end nothing is on the LAN that no record tells of.
func TestInterfaceRace(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	pid := strings.TrimSpace(s.Exec("sh", "-c", `nsenter --net=`+ns+` sh -c 'n=0; while :; do
		for l in /proc/sys/net/ipv4/conf/veth*; do
			x=${l##*/}; [ "$x" = "veth*" ] || { ip link set $x name mine$n && n=$((n+1)); }
		done; done' >/dev/null 2>&1 & echo $!`))
	failed := 0
	for range 40 {
		_, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
		if r.Status != http.StatusOK {
			failed++
		}
		if r := d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusNoContent {
			t.Errorf("detach: %d %s", r.Status, r.Body)
		}
	}
	s.Exec("kill", "-9", pid)
	t.Logf("%d of 40 attaches failed", failed)
	wantLinks(t, s, ns)
	d.wantNothingLeft()
}

// A user links two namespaces, so that the kernel, to tell of the one, has to have a
// name for the other before the daemon has given it one.
func TestLinkedNamespaces(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	s, dir := sandboxWithDir(t, alice)
	first, second := container(t, s, dir), container(t, s, dir)
	inNetns(s, first, `exec 3<`+second+`; ip link add near type veth peer name far; ip link set far netns /proc/$$/fd/3`)
	for i, ns := range []string{first, second} {
		_, r := d.attach(s, "lan", api.AttachRequest{ContainerID: fmt.Sprint("c", i), InterfaceName: "eth0", Netns: ns})
		inNetns(s, ns, "ip link set eth0 name mine || true")
		if i == 0 && r.Status != http.StatusOK {
			t.Errorf("attach: %d %s", r.Status, r.Body)
		}
		if r := d.detach(s, "lan", api.DetachRequest{ContainerID: fmt.Sprint("c", i), InterfaceName: "eth0"}); r.Status != http.StatusNoContent {
			t.Errorf("detach: %d %s", r.Status, r.Body)
		}
		if left := onLAN(s, ns); left != 0 {
			t.Errorf("namespace %d: %d links are on the LAN that no record tells of", i, left)
		}
	}
	d.wantNothingLeft()
}
