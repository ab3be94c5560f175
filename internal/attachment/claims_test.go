package attachment

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// An address or MAC that a live attachment of the resource holds is nobody else's; on
// another resource it is another address.
func TestHeldAddresses(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	m := open(t, t.TempDir(), &runner{})
	ns := namespace(t)
	ask := func(id, resource, ip, mac string) error {
		q := request(t, ns)
		q.ContainerID, q.Interface, q.Resource = id, "eth"+id[1:], resource
		q.Args = [][2]string{}
		if ip != "" {
			q.Claims.IPs = []netip.Addr{netip.MustParseAddr(ip)}
		}
		if mac != "" {
			q.Claims.MAC, q.Args = mac, [][2]string{{argMAC, mac}}
		}
		_, err := m.Attach(context.Background(), q)
		return err
	}
	for _, tt := range []struct {
		id, resource, ip, mac string
		held                  bool
	}{
		{"c0", "lan", "192.0.2.7", "", false},
		{"c1", "lan", "192.0.2.7", "", true},
		{"c2", "other", "192.0.2.7", "", false},
		{"c3", "lan", "192.0.2.8", "02:00:00:aa:00:01", false},
		{"c4", "lan", "192.0.2.9", "02:00:00:aa:00:01", true},
		{"c5", "lan", "", "02:00:00:aa:00:01", true},
	} {
		if err := ask(tt.id, tt.resource, tt.ip, tt.mac); errors.Is(err, ErrHeld) != tt.held || !tt.held && err != nil {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	if err := m.Detach(context.Background(), Key{UID: 1000, ContainerID: "c0", Interface: "eth0"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := ask("c1", "lan", "192.0.2.7", ""); err != nil {
		t.Errorf("once it was given back: %v", err)
	}
}

// Of many that ask at once, as many get one as there are places, or addresses.
func TestClaimsOfACrowd(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	m := open(t, t.TempDir(), &runner{})
	ns := namespace(t)
	crowd := func(change func(q *Request)) (admitted int, refused map[string]int) {
		var mu sync.Mutex
		var all sync.WaitGroup
		refused = map[string]int{}
		for i := range 20 {
			q := request(t, ns)
			q.ContainerID, q.Interface = fmt.Sprint("c", i), fmt.Sprint("eth", i)
			change(&q)
			all.Go(func() {
				_, err := m.Attach(context.Background(), q)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					admitted++
				} else {
					refused[err.Error()]++
				}
			})
		}
		all.Wait()
		for _, r := range m.List() {
			if err := m.Detach(context.Background(), r.Key, nil); err != nil {
				t.Fatal(err)
			}
		}
		return admitted, refused
	}
	if n, refused := crowd(func(q *Request) { q.Claims.MostOnResource = 8 }); n != 8 || refused["you have 8 attachments on resource lan, and may have no more"] != 12 {
		t.Errorf("%d got one of 8 places; %v", n, refused)
	}
	if n, refused := crowd(func(q *Request) { q.Claims.MostInAll, q.Resource = 5, q.Interface }); n != 5 || refused["you have 5 attachments, on all resources together, and may have no more"] != 15 {
		t.Errorf("%d got one of 5 places; %v", n, refused)
	}
	if n, refused := crowd(func(q *Request) { q.Claims.IPs = []netip.Addr{netip.MustParseAddr("192.0.2.7")} }); n != 1 || len(refused) != 1 {
		t.Errorf("%d got the one address; %v", n, refused)
	}
}

// What is dead and not yet released is in nobody's way.
func TestTheDeadHaveNoClaims(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	r := &runner{}
	m := open(t, t.TempDir(), r)
	q := request(t, namespace(t))
	q.Claims = Claims{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, MostOnResource: 1}
	mustAttach(t, m, q)
	next := q
	next.ContainerID = "c2"
	if _, err := m.Attach(context.Background(), next); !errors.Is(err, ErrHeld) {
		t.Errorf("while it lives: %v", err)
	}
	r.world.change(func(w *world) { w.dead, w.links = true, nil })
	if _, err := m.Attach(context.Background(), next); err != nil {
		t.Errorf("once it is dead: %v", err)
	}
}
