package netns

import (
	"errors"
	"math"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

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

// TestDeleteLink: with nothing but the id, a link goes, and those of the same name
// elsewhere stay.
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
			if err := r.DeleteLink(id, "np-del"); err != nil {
				t.Error(err)
			}
			if got := a.Links(aPath); slices.Contains(got, "np-del") {
				t.Errorf("still there: %v", got)
			}
			if got := m.Links(mPath); !slices.Contains(got, "np-del") {
				t.Errorf("another user's is gone, too: %v", got)
			}
			if _, err := net.InterfaceByName("np-del"); err != nil {
				t.Errorf("the host's is gone, too: %v", err)
			}
			if err := r.DeleteLink(id, "np-del"); err != nil {
				t.Errorf("one that does not exist: %v", err)
			}
			if err := r.DeleteLink(id, "lo"); !errors.Is(err, unix.EOPNOTSUPP) {
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
		ns.Close()
		// Whether the kernel has cleaned up, is about to, or has not begun.
		if err := r.DeleteLink(id, "np-del"); err != nil {
			t.Error(err)
		}
		w.waitDead(t, id)
		if err := r.DeleteLink(id, "np-del"); err != nil {
			t.Errorf("after its death was told: %v", err)
		}
	}
}

// TestDeleteLinkSparesTheHost: whatever is recorded, a link of the host is none to
// delete. The host is one of the test's own, since an id cannot be taken back.
func TestDeleteLinkSparesTheHost(t *testing.T) {
	testlab.RequireRoot(t)
	if err := unshared(t).Do(func() error {
		r := newRegistry(t)
		ip(t, "link add np-host type bridge")
		const own = 77 // as `ip netns set` gives it
		if err := r.set(int32(r.own.Fd()), own); err != nil {
			return err
		}
		for _, id := range []int32{own, -1, -2, math.MinInt32} {
			if err := r.DeleteLink(id, "np-host"); err == nil {
				t.Errorf("id %d: no error", id)
			}
		}
		for _, id := range []int32{own + 1, math.MaxInt32} { // nobody's
			if err := r.DeleteLink(id, "np-host"); err != nil {
				t.Errorf("id %d: %v", id, err)
			}
		}
		_, err := net.InterfaceByName("np-host")
		return err
	}); err != nil {
		t.Error(err)
	}
}

func TestDeleteLinkNames(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	ns := unshared(t)
	id := assign(t, r, ns)
	ip(t, "link add np-exactly15chr netns "+ns.Path()+" type bridge")
	for _, name := range []string{
		"", ".", "..", "a/b", "a b", "a:b", "a\tb", "a\x00b", "np-exactly15chr\x00", "np-exactly15chrs", strings.Repeat("x", 4096),
	} {
		if err := r.DeleteLink(id, name); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
	has := func() bool {
		t.Helper()
		var err error
		if doErr := ns.Do(func() error { _, err = net.InterfaceByName("np-exactly15chr"); return nil }); doErr != nil {
			t.Fatal(doErr)
		}
		return err == nil
	}
	if !has() {
		t.Error("a part of a name was enough")
	}
	if err := r.DeleteLink(id, "np-exactly15chr"); err != nil || has() {
		t.Errorf("the longest name there is: there %v, %v", has(), err)
	}
}
