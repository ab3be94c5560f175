package netns

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/osthread"
	"github.com/net-porter/net-porter/internal/testlab"
)

func newRegistry(t *testing.T) *Registry {
	t.Helper()
	r, err := NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// unshared makes a namespace that nothing but its Namespace keeps alive.
func unshared(t testing.TB) *Namespace {
	t.Helper()
	ns := &Namespace{fd: -1}
	var err error
	done := make(chan struct{})
	osthread.Run(func() bool {
		defer close(done)
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return false
		}
		ns.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return false
	})
	<-done
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func assign(t *testing.T, r *Registry, ns *Namespace) int32 {
	t.Helper()
	id, fresh, err := r.Assign(ns)
	if err != nil || !fresh {
		t.Fatalf("Assign: %d, fresh %v, %v", id, fresh, err)
	}
	return id
}

func alive(t *testing.T, r *Registry, id int32) bool {
	t.Helper()
	those, err := r.Alive([]int32{id})
	if err != nil {
		t.Fatal(err)
	}
	_, ok := those[id]
	return ok
}

// A daemon that starts asks for all at once; one answer too few, and it takes a container
// that runs for gone.
func TestAliveOfMany(t *testing.T) {
	testlab.RequireRoot(t)
	const many = 500
	earlier := newRegistry(t)
	namespaces, ids := map[int32]*Namespace{}, []int32{}
	for range many {
		ns := unshared(t)
		id := assign(t, earlier, ns)
		namespaces[id], ids = ns, append(ids, id)
	}
	r := newRegistry(t)
	all, err := r.Alive(ids)
	if err != nil || len(all) != many {
		t.Fatalf("%d of %d are alive (%v)", len(all), many, err)
	}
	witness := watch(t, newRegistry(t))
	gone := ids[many/2]
	namespaces[gone].Close()
	witness.waitDead(t, gone)
	if all, err = r.Alive(ids); err != nil || len(all) != many-1 {
		t.Errorf("%d of %d are alive after the death of one (%v)", len(all), many, err)
	}
	if _, ok := all[gone]; ok {
		t.Error("the one that is dead is among them")
	}
	if none, err := r.Alive(nil); err != nil || len(none) > 0 {
		t.Errorf("of none %v are alive (%v)", none, err)
	}
}

func TestAssign(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	s, path := container(t, alice)
	ns := open(t, newOpener(t), caller(t, alice, s), path)
	before := descriptors(t)
	id := assign(t, r, ns)
	if !Lasting(id) || !alive(t, r, id) {
		t.Errorf("id %d: lasting %v, alive %v", id, Lasting(id), alive(t, r, id))
	}
	if again, fresh, err := r.Assign(ns); err != nil || fresh || again != id {
		t.Errorf("again: %d, fresh %v, %v; want %d", again, fresh, err, id)
	}
	other := unshared(t)
	r.given.Store(uint32(id) - 1) // as if an earlier daemon had given the next one
	if id2 := assign(t, r, other); id2 == id || !Lasting(id2) {
		t.Errorf("two namespaces: %d and %d", id, id2)
	}
	other.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	ns.Close()
	if _, _, err := r.Assign(ns); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed one: %v", err)
	}
}

// TestAssignAtOnce: several attachments of one container begin at the same time.
func TestAssignAtOnce(t *testing.T) {
	testlab.RequireRoot(t)
	registries := []*Registry{newRegistry(t), newRegistry(t)}
	for range 20 {
		ns := unshared(t)
		var fresh atomic.Int32
		var ids sync.Map
		var done sync.WaitGroup
		for i := range 8 {
			done.Go(func() {
				id, isFresh, err := registries[i%2].Assign(ns)
				if err != nil {
					t.Error(err)
				}
				if isFresh {
					fresh.Add(1)
				}
				ids.Store(id, nil)
			})
		}
		done.Wait()
		count := 0
		ids.Range(func(any, any) bool { count++; return true })
		if fresh.Load() != 1 || count != 1 {
			t.Fatalf("%d fresh, %d ids", fresh.Load(), count)
		}
		ns.Close()
	}
}

// TestIDs: they grow, and start over without ever being negative or low.
func TestIDs(t *testing.T) {
	r := &Registry{}
	for _, tt := range []struct {
		after uint32
		want  int32
	}{
		{0, firstID + 1},
		{firstID - 2, 1<<31 - 1},
		{firstID - 1, firstID},
		{1<<32 - 1, firstID},
	} {
		r.given.Store(tt.after)
		if got := r.nextID(); got != tt.want || !Lasting(got) {
			t.Errorf("after %d: %d, want %d", tt.after, got, tt.want)
		}
	}
}

// TestNeverAgain: an id is not the next namespace's once its own has died, or what
// is done for the dead would hit the living. The kernel's own choice is.
func TestNeverAgain(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	w := watch(t, r)
	ns := unshared(t)
	id := assign(t, r, ns)
	ns.Close()
	w.waitDead(t, id)
	if next := assign(t, r, unshared(t)); next == id {
		t.Errorf("%d is given again", id)
	}

	byKernel := func() int32 {
		ns := unshared(t)
		veth(t, "np-low0", "np-low1", ns) // the kernel needs an id to tell where the peer is
		id, fresh, err := r.Assign(ns)
		if err != nil || fresh || Lasting(id) {
			t.Fatalf("id %d: fresh %v, lasting %v, %v", id, fresh, Lasting(id), err)
		}
		ip(t, "link del np-low0") // or it may still be there when the death is told
		ns.Close()
		w.waitDead(t, id)
		return id
	}
	if first, second := byKernel(), byKernel(); first != second {
		t.Logf("ids of the kernel's choice: %d, then %d", first, second)
	}
}

// TestRestart: what a daemon has given, the next one finds; what died while there
// was none, it does not.
func TestRestart(t *testing.T) {
	testlab.RequireRoot(t)
	witness := watch(t, newRegistry(t))
	o := newOpener(t)
	living, livingPath := container(t, alice)
	dying, dyingPath := container(t, alice)

	first := newRegistry(t)
	ns := open(t, o, caller(t, alice, living), livingPath)
	stays := assign(t, first, ns)
	ns.Close()
	ns = open(t, o, caller(t, alice, dying), dyingPath)
	goes := assign(t, first, ns)
	ns.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Alive([]int32{stays}); err == nil {
		t.Error("Alive after Close: no error")
	}
	dying.Exit()
	witness.waitDead(t, goes)

	second := newRegistry(t)
	if !alive(t, second, stays) || alive(t, second, goes) {
		t.Errorf("alive: the living %v, the dead %v", alive(t, second, stays), alive(t, second, goes))
	}
	ns = open(t, o, caller(t, alice, living), livingPath)
	if id, fresh, err := second.Assign(ns); err != nil || fresh || id != stays {
		t.Errorf("%d, fresh %v, %v; want %d", id, fresh, err, stays)
	}
	ns.Close()
	w := watch(t, second)
	living.Exit()
	w.waitDead(t, stays)
}

// TestUsersCannotGiveIDs: a user in the host's network namespace, whatever their
// rights in a user namespace of their own, gives no ids there, and nobody takes any.
func TestUsersCannotGiveIDs(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	s := mallory.SandboxInHostNet(t)
	s.Tmpfs("/run")
	s.Mkdir("/run/netns")
	s.PersistNetns("/run/netns/mine")
	for _, id := range []string{"auto", "7"} {
		out, err := s.Try("exec", "ip", "netns", "set", "mine", id)
		if err == nil || !strings.Contains(out, "not permitted") {
			t.Errorf("ip netns set mine %s: %v: %s", id, err, out)
		}
	}
	ns := open(t, newOpener(t), caller(t, mallory, s), "/run/netns/mine")
	id := assign(t, r, ns) // it has none yet
	req := newRequest(r.ids, unix.RTM_DELNSID, unix.NLM_F_ACK)
	req.AddRawData(slices.Concat(make([]byte, rtgenmsgLen), nsid(id)))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("RTM_DELNSID: %v", err)
	}
	if err := r.set(int32(ns.fd), id+1); !errors.Is(err, unix.EEXIST) {
		t.Errorf("another id: %v", err)
	}
}
