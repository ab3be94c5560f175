package attachment

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/netns"
)

// runner is CNI by a script, and says what it was asked.
type runner struct {
	add, del func() error
	// adding and deleting, if not nil, are what ADD and DEL do once their part is done.
	adding, deleting func(context.Context) error
	cached           []cni.Leftover
	world            *world // in which ADD makes links, and DEL removes them

	mu    sync.Mutex
	calls []string
}

func (r *runner) note(command string, inv cni.Invocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	place := "inside"
	if inv.NetNS == "" {
		place = "without a namespace"
	}
	r.calls = append(r.calls, command+" "+inv.ContainerID+" "+inv.Interface+" "+place)
}

func (r *runner) Add(ctx context.Context, _ *cni.Network, inv cni.Invocation) (*types100.Result, error) {
	r.note("ADD", inv)
	if r.add != nil {
		if err := r.add(); err != nil {
			return nil, err
		}
	}
	mac := r.world.addLink(inv.Interface)
	if r.adding != nil {
		if err := r.adding(ctx); err != nil {
			return nil, err
		}
	}
	return &types100.Result{Interfaces: []*types100.Interface{{Name: inv.Interface, Mac: mac, Sandbox: inv.NetNS}}}, nil
}

func (r *runner) Del(ctx context.Context, _ *cni.Network, inv cni.Invocation) error {
	r.note("DEL", inv)
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.del != nil {
		if err := r.del(); err != nil {
			return err
		}
	}
	if inv.NetNS != "" {
		r.world.delLink(inv.Interface)
	}
	if r.deleting != nil {
		return r.deleting(ctx)
	}
	return nil
}

func (r *runner) Check(_ context.Context, _ *cni.Network, inv cni.Invocation) error {
	r.note("CHECK", inv)
	return nil
}

func (r *runner) Cached() ([]cni.Leftover, error) { return r.cached, nil }

func (r *runner) Discard(id, ifname string) error {
	r.note("discard", cni.Invocation{ContainerID: id, Interface: ifname, NetNS: "/"})
	return nil
}

// world is a namespace that is alive, or dead, by its id. There is no other.
type world struct {
	id     int32
	deaths chan int32 // what Watch tells

	mu      sync.Mutex
	dead    bool
	hidden  bool // the user hides links from VisibleLinks
	links   []netns.Link
	made    int
	deleted []string
}

const someID = 1 << 30 // one of those that are given once only

// change does what the namespace's user, or time, does to it.
func (w *world) change(fn func(w *world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn(w)
}

// addLink makes a link that hangs on one of the host's, as macvlan does.
func (w *world) addLink(name string) (mac string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made++
	address := net.HardwareAddr{2, 0, 0, 0, 0, byte(w.made)}
	w.links = append(w.links, netns.Link{Index: w.made + 1, Name: name, MAC: address, OnHost: true})
	return address.String()
}

func (w *world) delLink(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links = slices.DeleteFunc(w.links, func(l netns.Link) bool { return l.Name == name })
}

func (w *world) names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := []string{}
	for _, l := range w.links {
		names = append(names, l.Name)
	}
	return names
}

func (w *world) Assign(*netns.Namespace) (int32, bool, error) { return w.id, true, nil }

func (w *world) Alive(ids []int32) (map[int32]struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead || !slices.Contains(ids, w.id) {
		return nil, nil
	}
	return map[int32]struct{}{w.id: {}}, nil
}

func (w *world) Links(_ *netns.Namespace, id int32, keep func(netns.Link) bool) ([]netns.Link, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var links []netns.Link
	for _, l := range w.links {
		if id == w.id && keep(l) {
			links = append(links, l)
		}
	}
	return links, nil
}

func (w *world) VisibleLinks(id int32, keep func(netns.Link) bool) ([]netns.Link, error) {
	return w.Links(nil, id, func(l netns.Link) bool { return !w.hidden && keep(l) })
}

func (w *world) Link(id int32, index int) (netns.Link, bool, error) {
	links, err := w.Links(nil, id, func(l netns.Link) bool { return l.Index == index })
	return append(links, netns.Link{})[0], len(links) > 0, err
}

func (w *world) DeleteLink(id int32, index int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deleted = append(w.deleted, fmt.Sprint(id, " ", index))
	if id == w.id {
		w.links = slices.DeleteFunc(w.links, func(l netns.Link) bool { return l.Index == index })
	}
	return nil
}

func (w *world) Watch(ctx context.Context, dead func(int32), _ func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-w.deaths:
			dead(id)
		}
	}
}

// settle does something, and waits for the releases that it begins.
func settle(m *Manager, do func(context.Context)) {
	do(context.Background())
	m.releases.Wait()
}

// nowhere finds no namespace again.
type nowhere struct{}

func (nowhere) Find(context.Context, netns.Wanted) (*netns.Namespace, error) {
	return nil, netns.ErrUnreachable
}
