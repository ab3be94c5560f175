package bench

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/net-porter/net-porter/internal/enforce"
)

// How much enforcement may add to an attach, and beside how many others it is measured.
const (
	maxEnforce    = 3 * time.Millisecond
	enforced      = 1000
	enforceRounds = 200
	restartRounds = 10
)

// measureEnforce measures what is asked of the kernel for an attach on a parent on which
// it is enforced what containers send, and for a daemon's start.
func (l *lab) measureEnforce(t *table) {
	l.progress("enforcement of what containers send")
	e, err := enforce.New(slog.New(slog.DiscardHandler))
	l.must(err)
	defer e.Close()
	var all []enforce.Held
	for i := range enforced {
		all = append(all, enforce.Held{
			ID: fmt.Sprint(i), Parent: l.lan.ParentName, MAC: net.HardwareAddr{2, 1, 0, 0, byte(i >> 8), byte(i)},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)})},
		})
	}
	parents := []string{l.lan.ParentName}
	restart := medians(l.b, restartRounds, func() { l.must(e.Reconcile(parents, all)) })
	h := enforce.Held{ID: "one more", Parent: l.lan.ParentName, MAC: net.HardwareAddr{2, 2, 0, 0, 0, 1}}
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8::77")}
	m := medians(l.b, enforceRounds,
		func() {
			l.must(e.Admit(h))                // before ADD
			l.must(e.Update(h.ID, addrs[:1])) // a lease
			l.must(e.Update(h.ID, addrs))     // after ADD
		},
		func() { l.must(e.Remove(h.ID)) })
	l.must(e.Reconcile(nil, nil))
	t.barred(fmt.Sprintf("enforcement of an attach, beside %d", enforced), fmt.Sprintf("%.2f ms", float64(m[0])/float64(time.Millisecond)),
		"<= "+milliseconds(maxEnforce), m[0] <= maxEnforce)
	t.fact("enforcement of a detach", fmt.Sprintf("%.2f ms", float64(m[1])/float64(time.Millisecond)))
	t.fact(fmt.Sprintf("enforcement at a start, of %d", enforced), milliseconds(restart[0]))
}
