package fair

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const (
	alice   = 1000
	mallory = 1001
	eve     = 1002
)

// came returns a waiter that has just arrived.
func came(t *testing.T, q *Queue, uid uint32, kind Kind) *waiter {
	t.Helper()
	w, err := q.arrive(uid, kind)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *waiter) isCalled() bool {
	select {
	case <-w.called:
		return true
	default:
		return false
	}
}

// order lets the turns of uid end one by one, and returns in which order the waiters
// are called.
func order(t *testing.T, q *Queue, uids []uint32, waiters map[string]*waiter) []string {
	t.Helper()
	var called []string
	for _, uid := range uids {
		q.leave(uid)
		for name, w := range waiters {
			if w.isCalled() && !slices.Contains(called, name) {
				called = append(called, name)
			}
		}
	}
	return called
}

// One user with a hundred waiting, and another who comes last: the first turn that ends
// is the latecomer's.
func TestWhoHasTheFewestIsNext(t *testing.T) {
	q := New(Options{Limits: Limits{InAll: 4, PerUser: 4}})
	for range 100 {
		came(t, q, mallory, Make)
	}
	a, again := came(t, q, alice, Make), came(t, q, alice, Make)
	e := came(t, q, eve, Make)
	waiters := map[string]*waiter{"alice": a, "alice again": again, "eve": e}
	// The third turn that ends is mallory's again, who has as few as they then, and has
	// waited longer. Alice's own ends after that.
	got := order(t, q, []uint32{mallory, mallory, mallory, alice}, waiters)
	if want := []string{"alice", "eve", "alice again"}; !slices.Equal(got, want) {
		t.Errorf("called %v, want %v", got, want)
	}
}

func TestOfThoseWithAsManyTheLongestWaitingIsNext(t *testing.T) {
	q := New(Options{Limits: Limits{InAll: 1, PerUser: 1}})
	came(t, q, mallory, Make)
	e, a := came(t, q, eve, Make), came(t, q, alice, Make)
	got := order(t, q, []uint32{mallory, eve}, map[string]*waiter{"eve": e, "alice": a})
	if want := []string{"eve", "alice"}; !slices.Equal(got, want) {
		t.Errorf("called %v, want %v", got, want)
	}
}

func TestRemovalsOfAUserAreFirst(t *testing.T) {
	q := New(Options{Limits: Limits{InAll: 2, PerUser: 1}})
	came(t, q, alice, Make)
	first, second := came(t, q, alice, Make), came(t, q, alice, Make)
	removal := came(t, q, alice, Remove)
	got := order(t, q, []uint32{alice, alice, alice}, map[string]*waiter{"first": first, "second": second, "removal": removal})
	if want := []string{"removal", "first", "second"}; !slices.Equal(got, want) {
		t.Errorf("called %v, want %v", got, want)
	}
}

// What a user may not have stays free for the others.
func TestNobodyHasMoreThanTheirShare(t *testing.T) {
	q := New(Options{Limits: Limits{InAll: 4, PerUser: 2}})
	for range 10 {
		came(t, q, mallory, Make)
	}
	if running, waiting := q.Counts(); running != 2 || waiting != 8 {
		t.Errorf("%d run and %d wait, want 2 and 8", running, waiting)
	}
	if !came(t, q, alice, Make).isCalled() {
		t.Error("another user waits with half of the turns free")
	}
	q.SetLimits(Limits{InAll: 4, PerUser: 3})
	if running, _ := q.Counts(); running != 4 {
		t.Errorf("%d run once three are allowed, want 4", running)
	}
	q.SetLimits(Limits{InAll: 1, PerUser: 1})
	for _, uid := range []uint32{mallory, mallory, mallory} {
		q.leave(uid)
	}
	if running, _ := q.Counts(); running != 1 {
		t.Errorf("%d run, want alice's one alone: the limit is lower now", running)
	}
}

// Whatever comes and goes in whatever order: the bounds hold, no turn lies idle that
// somebody may have, each goes to who has the fewest, and at the end nothing is left.
func TestAnyOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	limits := Limits{InAll: 5, PerUser: 3}
	q := New(Options{Limits: limits})
	type ticket struct {
		uid  uint32
		kind Kind
		w    *waiter
	}
	var all []ticket
	check := func() {
		t.Helper()
		running := map[uint32]int{}
		var free []uint32 // users who wait and may have more
		for _, k := range all {
			if k.w.isCalled() {
				running[k.uid]++
			}
		}
		total := 0
		for uid, n := range running {
			total += n
			if n > limits.PerUser {
				t.Fatalf("user %d has %d turns", uid, n)
			}
		}
		for _, k := range all {
			if !k.w.isCalled() && running[k.uid] < limits.PerUser {
				free = append(free, k.uid)
			}
		}
		if total > limits.InAll || total < limits.InAll && len(free) > 0 {
			t.Fatalf("%d turns are taken of %d, and %v wait that may have some", total, limits.InAll, free)
		}
	}
	for range 20_000 {
		switch i := random.IntN(max(1, 2*len(all))); {
		case i >= len(all) && len(all) < 40:
			k := ticket{uid: random.Uint32N(6), kind: Kind(random.IntN(int(kinds)))}
			k.w = came(t, q, k.uid, k.kind)
			all = append(all, k)
		case len(all) > 0:
			i %= len(all)
			k := all[i]
			all = slices.Delete(all, i, i+1)
			if !q.withdraw(k.uid, k.kind, k.w) {
				before := map[uint32]int{}
				waiting := map[uint32]bool{}
				for _, o := range all {
					if o.w.isCalled() {
						before[o.uid]++
					} else {
						waiting[o.uid] = true
					}
				}
				q.leave(k.uid)
				for uid, n := range before {
					for _, o := range all {
						if o.uid == uid && o.w.isCalled() {
							n--
						}
					}
					for other := range waiting {
						if n < 0 && before[other] < before[uid] {
							t.Fatalf("user %d with %d turns was called before %d with %d", uid, before[uid], other, before[other])
						}
					}
				}
			}
		}
		check()
	}
	for _, k := range all {
		if !q.withdraw(k.uid, k.kind, k.w) {
			q.leave(k.uid)
		}
	}
	if running, waiting := q.Counts(); running != 0 || waiting != 0 || len(q.users) != 0 {
		t.Errorf("%d run and %d wait of %d users, and nobody is there", running, waiting, len(q.users))
	}
}

func TestWaitEnds(t *testing.T) {
	cause := errors.New("the caller hung up")
	for name, tt := range map[string]struct {
		kind  Kind
		end   func(context.Context) (context.Context, context.CancelFunc)
		err   error
		after time.Duration
	}{
		"patience": {Make, func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }, ErrBusy, DefaultPatience},
		"a deadline": {Make, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, ErrBusy, time.Second},
		"a removal's deadline": {Remove, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Hour)
		}, ErrBusy, time.Hour},
		"a cancelled context": {Make, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			timer := time.AfterFunc(time.Second, func() { cancel(cause) })
			return ctx, func() { timer.Stop(); cancel(nil) }
		}, cause, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var waited time.Duration
				q := New(Options{Limits: Limits{InAll: 1, PerUser: 1}, Waited: func(d time.Duration) { waited = d }})
				_, leave, err := q.Enter(t.Context(), mallory, Make)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := tt.end(t.Context())
				defer cancel()
				if _, _, err := q.Enter(ctx, alice, tt.kind); !errors.Is(err, tt.err) {
					t.Errorf("got %v, want %v", err, tt.err)
				}
				if waited != tt.after {
					t.Errorf("waited for %s, want %s", waited, tt.after)
				}
				leave()
				leave() // again is nothing
				if running, waiting := q.Counts(); running != 0 || waiting != 0 || len(q.users) != 0 {
					t.Errorf("%d run and %d wait of %d users, and nobody is there", running, waiting, len(q.users))
				}
			})
		})
	}
}

func TestARemovalOutlastsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(Options{Limits: Limits{InAll: 1, PerUser: 1}})
		_, leave, err := q.Enter(t.Context(), mallory, Make)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(100*DefaultPatience, leave)
		_, leave, err = q.Enter(t.Context(), alice, Remove)
		if err != nil {
			t.Fatal(err)
		}
		leave()
	})
}

// Work within a turn takes no second one, and a turn of another queue's is none.
func TestATurnIsCarriedByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(Options{Limits: Limits{InAll: 1, PerUser: 1}})
		turn, leave, err := q.Enter(t.Context(), alice, Make)
		if err != nil {
			t.Fatal(err)
		}
		within, leaveWithin, err := q.Enter(context.WithoutCancel(turn), alice, Remove)
		if err != nil {
			t.Fatal(err)
		}
		leaveWithin()
		if running, _ := q.Counts(); running != 1 {
			t.Errorf("%d turns are taken, want the one", running)
		}
		other := New(Options{Limits: Limits{InAll: 1, PerUser: 1}})
		if _, _, err := other.Enter(within, alice, Make); err != nil {
			t.Error(err)
		}
		if running, _ := other.Counts(); running != 1 {
			t.Error("one queue's turn passes for another's")
		}
		leave()
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(Options{Limits: Limits{InAll: 1, PerUser: 1}})
		_, leave, err := q.Enter(t.Context(), alice, Make)
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 2)
		go func() {
			_, _, err := q.Enter(t.Context(), alice, Make)
			errs <- err
		}()
		go func() {
			_, leave, err := q.Enter(t.Context(), alice, Remove)
			if err == nil {
				leave()
			}
			errs <- err
		}()
		synctest.Wait()
		q.Close()
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Errorf("who waited to make something: %v", err)
		}
		if _, _, err := q.Enter(t.Context(), eve, Make); !errors.Is(err, ErrClosed) {
			t.Errorf("who comes to make something: %v", err)
		}
		leave()
		if err := <-errs; err != nil {
			t.Errorf("who waited to remove something: %v", err)
		}
	})
}

func TestWithoutAQueueNobodyWaits(t *testing.T) {
	var q *Queue
	for range 100 {
		if _, _, err := q.Enter(t.Context(), alice, Make); err != nil {
			t.Fatal(err)
		}
	}
}
