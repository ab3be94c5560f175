package attachment

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

func wanting(t *testing.T, addresses ...string) Request {
	t.Helper()
	q := request(t, namespace(t))
	for _, a := range addresses {
		q.Wanted = append(q.Wanted, netip.MustParseAddr(a))
	}
	return q
}

// Time is for the whole of an attach, and not for what undoes it.
func TestTimeIsForTheWholeAttach(t *testing.T) {
	testlab.RequireRoot(t)
	r := &runner{}
	m := open(t, t.TempDir(), r)
	timeOut := func(ctx context.Context) error {
		<-ctx.Done()
		m.SetTimeout(time.Hour) // of what undoes it
		return ctx.Err()
	}
	m.SetTimeout(100 * time.Millisecond)
	r.adding = timeOut
	q := wanting(t, "192.0.2.7")
	_, err := m.Attach(context.Background(), q)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrAbandoned) {
		t.Errorf("attach: %v, want %v", err, context.DeadlineExceeded)
	}
	if len(m.List()) > 0 || len(r.world.names()) > 0 {
		t.Errorf("left are records %v, links %v", m.List(), r.world.names())
	}

	// What was there before is part of it: here its removal takes all the time.
	r.adding = nil
	m.SetTimeout(time.Hour)
	mustAttach(t, m, q)
	q.Namespace = namespace(t)
	m.SetTimeout(100 * time.Millisecond)
	r.deleting = timeOut
	_, err = m.Attach(context.Background(), q)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrAbandoned) {
		t.Errorf("attach after a slow removal: %v, want %v", err, context.DeadlineExceeded)
	}
}

// A caller that hung up is told from plugins that failed, and what they said is kept.
func TestHangUpIsTold(t *testing.T) {
	testlab.RequireRoot(t)
	ctx, hangUp := context.WithCancel(context.Background())
	said := errors.New("killed")
	r := &runner{adding: func(context.Context) error { hangUp(); return said }}
	m := open(t, t.TempDir(), r)
	_, err := m.Attach(ctx, wanting(t, "192.0.2.7"))
	if !errors.Is(err, ErrAbandoned) || !errors.Is(err, said) || !errors.Is(err, context.Canceled) {
		t.Errorf("attach: %v, want %v beside %v", err, ErrAbandoned, said)
	}
	if want := []string{"ADD 1000.c1 eth0 inside", "DEL 1000.c1 eth0 inside"}; !slices.Equal(r.calls, want) {
		t.Errorf("ran %v, want %v", r.calls, want)
	}
	if len(m.List()) > 0 || len(r.world.names()) > 0 {
		t.Errorf("left are records %v, links %v", m.List(), r.world.names())
	}
}

// An address that is gone is gone without; a network on which nothing answers in time
// is not waited for twice.
func TestWantedAddresses(t *testing.T) {
	testlab.RequireRoot(t)
	const add, del = "ADD 1000.c1 eth0 inside", "DEL 1000.c1 eth0 inside"
	for _, tt := range []struct {
		name  string
		err   error
		calls []string
		fails bool
	}{
		{"taken by somebody else", errors.New("taken"), []string{add, del, add}, false},
		{"a plugin that hangs", cni.ErrTimeout, []string{add, del}, true},
		{"time is over", context.DeadlineExceeded, []string{add, del}, true},
		{"no DHCP server", grant.ErrNoOffer, []string{add, del}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &runner{}
			first := true
			r.adding = func(context.Context) error {
				if !first {
					return nil
				}
				first = false
				// What the first try leaves is not in the second one's way.
				r.world.change(func(w *world) { w.rename("eth0", "mine") })
				return tt.err
			}
			m := open(t, t.TempDir(), r)
			_, err := m.Attach(context.Background(), wanting(t, "192.0.2.7"))
			if tt.fails != errors.Is(err, tt.err) || !tt.fails && err != nil {
				t.Errorf("attach: %v", err)
			}
			if !slices.Equal(r.calls, tt.calls) {
				t.Errorf("ran %v, want %v", r.calls, tt.calls)
			}
			if slices.Contains(r.world.names(), "mine") {
				t.Errorf("links left: %v", r.world.names())
			}
		})
	}
}
