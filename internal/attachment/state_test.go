package attachment

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// The table of the package's doc, the other way round.
func TestTransitions(t *testing.T) {
	states := []State{Pending, Attached, Detaching, FailedDetach}
	want := map[string]State{
		"pending made": Attached,

		"pending removing": Detaching, "attached removing": Detaching,
		"detaching removing": Detaching, "failed-detach removing": Detaching,

		"detaching failing": FailedDetach,
	}
	for _, s := range states {
		for _, e := range []event{made, removing, failing} {
			name := fmt.Sprintf("%s %s", s, e)
			if got := transitions[e][s]; got != want[name] {
				t.Errorf("%s comes to %q, want %q", name, got, want[name])
			}
		}
		if !s.isKnown() {
			t.Errorf("a record in state %s cannot be read", s)
		}
	}
}

func TestRetriesComeLaterAndLater(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var f *Failure
	var pauses []time.Duration
	for range 10 {
		f = nextFailure(f, errors.New("not now"), "not now", now)
		pauses = append(pauses, f.Next.Sub(now))
		now = f.Next
	}
	want := "[2s 4s 8s 16s 32s 1m4s 2m8s 4m16s 5m0s 5m0s]"
	if got := fmt.Sprint(pauses); got != want || f.Attempts != 10 {
		t.Errorf("after %d attempts the pauses are %s, want %s", f.Attempts, got, want)
	}
	for range 100 {
		f = nextFailure(f, errors.New("not now"), "not now", now)
	}
	if got := f.Next.Sub(now); got != lastRetry {
		t.Errorf("much later the pause is %s, want %s", got, lastRetry)
	}
}

func TestAClockSetBackHoldsUpNoRetry(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f := nextFailure(nil, errors.New("not now"), "not now", now)
	for at, due := range map[time.Duration]bool{0: false, firstRetry - 1: false, firstRetry: true, -time.Hour: true} {
		if got := f.isDue(now.Add(at)); got != due {
			t.Errorf("%s after the failure it is due: %v, want %v", at, got, due)
		}
	}
}
