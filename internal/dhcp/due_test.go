package dhcp

import (
	"fmt"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// hourly is a lease of an hour that was granted at 1000 s.
func hourly(edit func(*Lease)) Lease {
	l := Lease{Acquired: 1000 * time.Second, Grant: grant.Grant{T1: 30 * time.Minute, T2: 52 * time.Minute, Lifetime: time.Hour}}
	if edit != nil {
		edit(&l)
	}
	return l
}

// RFC 2131, section 4.4.5 and figure 5, as a table.
func TestWhatIsDueWhen(t *testing.T) {
	plain := hourly(nil)
	expired := hourly(func(l *Lease) { l.Expired = true })
	undone := hourly(func(l *Lease) { l.Undone = []grant.Grant{{}} })
	gone := hourly(func(l *Lease) { l.Superseded = true })
	probed := hourly(func(l *Lease) { l.Probes = 2 })
	infinite := hourly(func(l *Lease) { l.T1, l.T2, l.Lifetime = 0, 0, 0 })
	for _, tt := range []struct {
		name        string
		lease       Lease
		age         time.Duration
		unconfirmed bool
		task        task
		state       State
		due         time.Duration // age
	}{
		{"fresh", plain, 0, false, nothing, Bound, 30 * time.Minute},
		{"a moment before T1", plain, 30*time.Minute - 1, false, nothing, Bound, 30 * time.Minute},
		{"T1", plain, 30 * time.Minute, false, renew, Renewing, 30 * time.Minute},
		{"a moment before T2", plain, 52*time.Minute - 1, false, renew, Renewing, 52*time.Minute - 1},
		{"T2", plain, 52 * time.Minute, false, rebind, Rebinding, 52 * time.Minute},
		{"a moment before the end", plain, time.Hour - 1, false, rebind, Rebinding, time.Hour - 1},
		{"the end", plain, time.Hour, false, expire, Rebinding, time.Hour},
		{"the end came while no daemon was there", plain, time.Hour, true, confirm, Rebinding, time.Hour},
		{"no daemon was there, but there is time left", plain, 53 * time.Minute, true, rebind, Rebinding, 53 * time.Minute},
		{"expired", expired, 2 * time.Hour, false, discover, Selecting, 2 * time.Hour},
		{"the interface is behind", undone, time.Minute, false, settle, Bound, time.Minute},
		{"the interface is behind, and T1 is there", undone, 31 * time.Minute, false, renew, Renewing, 31 * time.Minute},
		{"the interface is behind, and the end is there", undone, time.Hour, false, expire, Rebinding, time.Hour},
		{"another's", gone, 2 * time.Hour, false, nothing, Rebinding, -1},
		{"before a probe", probed, time.Second, false, nothing, Bound, probeEvery},
		{"a probe", probed, probeEvery, false, probe, Bound, probeEvery},
		{"without end", infinite, 1000 * time.Hour, false, nothing, Bound, -1},
	} {
		now := tt.lease.Acquired + tt.age
		if got := tt.lease.taskAt(now, tt.unconfirmed); got != tt.task {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.task)
		}
		if got := tt.lease.stateAt(now); got != tt.state {
			t.Errorf("%s: state %s, want %s", tt.name, got, tt.state)
		}
		want := never
		if tt.due >= 0 {
			want = tt.lease.Acquired + tt.due
		}
		if got := tt.lease.dueAt(now); got != want {
			t.Errorf("%s: due at age %s, want %s", tt.name, got-tt.lease.Acquired, tt.due)
		}
	}
}

// Tries never go past the moment at which something else is due, and never come in a
// busy loop.
func TestRetriesEndWhereTheNextStateBegins(t *testing.T) {
	short := Lease{Grant: grant.Grant{T1: 3 * time.Second, T2: 5 * time.Second, Lifetime: 6 * time.Second}}
	for _, l := range []Lease{hourly(nil), short} {
		for _, from := range []struct{ age, until time.Duration }{{l.T1, l.T2}, {l.T2, l.Lifetime}} {
			tries := 0
			for age := from.age; age < from.until; tries++ {
				next := l.retryAt(l.Acquired+age, tries+1) - l.Acquired
				if next <= age || next > from.until {
					t.Fatalf("after %s comes %s, want a time up to %s", age, next, from.until)
				}
				age = next
			}
			if tries < 1 || tries > 20 {
				t.Errorf("%d tries from %s to %s", tries, from.age, from.until)
			}
		}
	}
	expired := hourly(func(l *Lease) { l.Expired = true })
	for fails, most := range []time.Duration{0: 0, 1: 2 * time.Second, 5: 20 * time.Second, 40: 80 * time.Second} {
		if most == 0 {
			continue
		}
		t.Run(fmt.Sprint(fails), func(t *testing.T) {
			if pause := expired.retryAt(5000*time.Second, fails) - 5000*time.Second; pause < most/4 || pause > most {
				t.Errorf("after %d failures a pause of %s, want one about %s", fails, pause, most)
			}
		})
	}
}
