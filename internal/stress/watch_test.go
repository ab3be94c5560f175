package stress

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/net-porter/net-porter/internal/testlab"
)

// addressWatch is told by the kernel of each change of the addresses in a container.
// It keeps the container's namespace alive until the end of the test.
type addressWatch struct {
	t    *testing.T
	ns   *testlab.Netns
	ends chan struct{} // holds a value for each fence that has been reached

	mu   sync.Mutex
	gone []string // IPv4 addresses, in the order of their removal
}

// fence is an address of the watch's own, on the loopback. When its removal has been
// told, everything that happened before has been.
const fence = "127.0.0.77/32"

func watchAddresses(t *testing.T, c *testlab.Container) *addressWatch {
	t.Helper()
	w := &addressWatch{t: t, ns: c.Open(), ends: make(chan struct{}, 1)}
	updates, done := make(chan netlink.AddrUpdate), make(chan struct{})
	handle := netns.NsHandle(w.ns.FD())
	err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{
		Namespace: &handle,
		ErrorCallback: func(err error) {
			select {
			case <-done: // the end of the test
			default:
				t.Errorf("the changes of addresses are not told any more: %v", err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var collecting sync.WaitGroup
	collecting.Go(func() {
		for u := range updates {
			switch addr := u.LinkAddress.String(); {
			case u.NewAddr || u.LinkAddress.IP.To4() == nil:
			case addr == fence:
				w.ends <- struct{}{}
			default:
				w.mu.Lock()
				w.gone = append(w.gone, addr)
				w.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { close(done); collecting.Wait() })
	return w
}

// removed are the addresses that were removed so far, in their order.
func (w *addressWatch) removed() []string {
	w.t.Helper()
	addr, err := netlink.ParseAddr(fence)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(lo, addr); err != nil {
			return err
		}
		return netlink.AddrDel(lo, addr)
	}); err != nil {
		w.t.Fatal(err)
	}
	<-w.ends
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.gone...)
}

// addresses are those that the interface has now.
func (w *addressWatch) addresses() []netip.Addr {
	w.t.Helper()
	var has []netip.Addr
	if err := w.ns.Do(func() error {
		link, err := netlink.LinkByName(ifname)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
		for _, a := range addrs {
			addr, _ := netip.AddrFromSlice(a.IP.To4())
			has = append(has, addr)
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return has
}
