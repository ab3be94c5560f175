package netns

import (
	"errors"
	"math"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

func ip(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", command, err, out)
	}
}

// hostLink makes a pair of links that is gone after the test.
func hostLink(t *testing.T, name, peer string) {
	t.Helper()
	ip(t, "link add "+name+" type veth peer name "+peer)
	t.Cleanup(func() { exec.Command("ip", "link", "del", name).Run() })
}

// linkNamed is the index of a link in the namespace with an id, 0 without any.
func linkNamed(t *testing.T, r *Registry, id int32, name string) int {
	t.Helper()
	links, err := r.VisibleLinks(id, func(l Link) bool { return l.Name == name })
	if err != nil {
		t.Fatal(err)
	}
	if len(links) == 0 {
		return 0
	}
	return links[0].Index
}

// TestDeleteLink: with nothing but the id, a link goes, whatever its user has made
// of its name, and all others stay.
func TestDeleteLink(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	o := newOpener(t)
	hostLink(t, "np-parent", "np-lan")
	hostLink(t, "np-del", "np-del-peer")
	for _, tt := range []struct{ kind, command string }{
		{"macvlan", "link add link np-parent name np-del netns NETNS type macvlan mode bridge"},
		{"veth", "link add np-out type veth peer name np-del netns NETNS"},
		{"bridge", "link add np-del netns NETNS type bridge"},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			a, aPath := container(t, alice)
			m, mPath := container(t, mallory)
			ns := open(t, o, caller(t, alice, a), aPath)
			id, _, err := r.Assign(ns)
			if err != nil {
				t.Fatal(err)
			}
			ip(t, strings.ReplaceAll(tt.command, "NETNS", ns.Path()))
			ns.Close()
			others := open(t, o, caller(t, mallory, m), mPath)
			ip(t, "link add np-del netns "+others.Path()+" type bridge")
			others.Close()

			before := descriptors(t)
			index := linkNamed(t, r, id, "np-del")
			a.Exec("nsenter", "--net="+aPath, "ip", "link", "set", "np-del", "name", "mine")
			if err := r.DeleteLink(id, index); err != nil {
				t.Error(err)
			}
			if got := a.Links(aPath); slices.Contains(got, "np-del") || slices.Contains(got, "mine") {
				t.Errorf("still there: %v", got)
			}
			if got := m.Links(mPath); !slices.Contains(got, "np-del") {
				t.Errorf("another user's is gone, too: %v", got)
			}
			if _, err := net.InterfaceByName("np-del"); err != nil {
				t.Errorf("the host's is gone, too: %v", err)
			}
			if err := r.DeleteLink(id, index); err != nil {
				t.Errorf("one that does not exist: %v", err)
			}
			if err := r.DeleteLink(id, linkNamed(t, r, id, "lo")); !errors.Is(err, unix.EOPNOTSUPP) {
				t.Errorf("the loopback: %v", err)
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

// TestDeleteLinkOfTheDead: from the moment of its death on there is nothing to do.
func TestDeleteLinkOfTheDead(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	w := watch(t, r)
	for range 20 {
		ns := unshared(t)
		ip(t, "link add np-del netns "+ns.Path()+" type bridge")
		id := assign(t, r, ns)
		index := linkNamed(t, r, id, "np-del")
		gone := func(when string) {
			t.Helper()
			if _, err := r.VisibleLinks(id, func(Link) bool { return true }); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			if err := r.DeleteLink(id, index); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		ns.Close()
		gone("whether the kernel has cleaned up, is about to, or has not begun")
		w.waitDead(t, id)
		gone("after its death was told")
	}
}

// TestDeleteLinkSparesTheHost: whatever is recorded, a link of the host is none to
// delete. The host is one of the test's own, since an id cannot be taken back.
func TestDeleteLinkSparesTheHost(t *testing.T) {
	testlab.RequireRoot(t)
	for _, given := range []int32{-1, 77} { // 77: somebody has done `ip netns set` before
		if err := unshared(t).Do(func() error {
			if given >= 0 {
				giveOwnID(t, given)
			}
			r := newRegistry(t)
			if given >= 0 && r.ownID != given || given < 0 && !Lasting(r.ownID) {
				t.Errorf("the server's own id is %d, given was %d", r.ownID, given)
			}
			ip(t, "link add np-host type bridge")
			link, err := net.InterfaceByName("np-host")
			if err != nil {
				return err
			}
			for _, id := range []int32{r.ownID, -1, -2, math.MinInt32} {
				if err := r.DeleteLink(id, link.Index); err == nil {
					t.Errorf("id %d: no error", id)
				}
				if _, err := r.VisibleLinks(id, func(Link) bool { return true }); err == nil {
					t.Errorf("links of id %d: no error", id)
				}
			}
			for _, id := range []int32{12345, math.MaxInt32} { // nobody's
				if err := r.DeleteLink(id, link.Index); err != nil {
					t.Errorf("id %d: %v", id, err)
				}
			}
			_, err = net.InterfaceByName("np-host")
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

// giveOwnID gives the thread's own network namespace an id in itself.
func giveOwnID(t *testing.T, id int32) {
	t.Helper()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	socket, err := nl.GetNetlinkSocketAt(vnetns.None(), vnetns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	r := &Registry{ids: &nl.SocketHandle{Socket: socket}}
	if err := r.set(int32(own.Fd()), id); err != nil {
		t.Fatal(err)
	}
}

// TestDeleteLinkIndexes: only what can be an index is one; 0 would have the kernel
// go by what else is said.
func TestDeleteLinkIndexes(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	ns := unshared(t)
	id := assign(t, r, ns)
	ip(t, "link add np-stays netns "+ns.Path()+" type bridge")
	index := linkNamed(t, r, id, "np-stays")
	for _, wrong := range []int{0, -1, math.MinInt64, 1<<32 + index} {
		if err := r.DeleteLink(id, wrong); err == nil {
			t.Errorf("%d: no error", wrong)
		}
	}
	if linkNamed(t, r, id, "np-stays") == 0 {
		t.Error("it was removed")
	}
}
