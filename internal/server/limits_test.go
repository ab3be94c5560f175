package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestInFlight(t *testing.T) {
	const most = 16
	f := inFlight{most: most}
	enter := func(uid uint32) func() {
		t.Helper()
		leave, err := f.enter(uid)
		if err != nil {
			t.Fatalf("uid %d has no place: %v", uid, err)
		}
		return leave
	}
	refused := func(uid uint32) {
		t.Helper()
		if _, err := f.enter(uid); err == nil {
			t.Errorf("uid %d has one place too many", uid)
		}
	}
	var leave []func()
	for user := range uint32(maxInFlightInAll / most) {
		for range most {
			leave = append(leave, enter(1000+user))
		}
		refused(1000 + user)
	}
	refused(2000) // all users together have as many as may be
	for _, l := range leave {
		l()
	}
	enter(2000)()
	if f.total != 0 || len(f.users) != 0 {
		t.Errorf("%d requests of %v are counted, and none is there", f.total, f.users)
	}
}

// A user may begin as many requests as the rate says, after a burst, and what is said
// about when to come back is true.
func TestBuckets(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBuckets(func() time.Time { return now }, 2, 8)
	take := func(uid uint32) time.Duration {
		_, wait := b.take(uid)
		return wait
	}
	drain := func(uid uint32) (n int) {
		for take(uid) == 0 {
			n++
		}
		return n
	}
	if n := drain(1000); n != 8 {
		t.Errorf("%d requests at once, want 8", n)
	}
	if wait := take(1001); wait != 0 {
		t.Error("another user has to wait")
	}
	wait := take(1000)
	if wait <= 0 || wait > 500*time.Millisecond {
		t.Errorf("at two a second the next one is due in %s", wait)
	}
	now = now.Add(wait - 1)
	if take(1000) == 0 {
		t.Error("it may come sooner than it was told")
	}
	now = now.Add(1)
	if wait := take(1000); wait != 0 {
		t.Errorf("it came when it was told, and has to wait for another %s", wait)
	}
	now = now.Add(time.Hour)
	if n := drain(1000); n != 8 {
		t.Errorf("%d requests at once after an hour, want 8", n)
	}
	b.change(100, 400)
	now = now.Add(time.Minute)
	if n := drain(1000); n != 400 {
		t.Errorf("%d requests at once at the new rate, want 400", n)
	}
}

func TestRetryAfterIsWholeSecondsAndNotTooFew(t *testing.T) {
	for wait, want := range map[time.Duration]int{0: 1, 1: 1, time.Second: 1, time.Second + 1: 2, 90 * time.Second: 90} {
		if got := retryAfter(wait); got != want {
			t.Errorf("%s: Retry-After: %d, want %d", wait, got, want)
		}
	}
}

func TestRefusalsOfOneUserAreFew(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRefusals(func() time.Time { return now })
	logged := 0
	for range 100 {
		if suppressed, ok := r.allow(1000); ok {
			logged++
			if suppressed != 0 {
				t.Errorf("%d lines are said to be missing before the first one is", suppressed)
			}
		}
	}
	if logged != refusalBurst {
		t.Errorf("%d lines at once, want %d", logged, refusalBurst)
	}
	if _, ok := r.allow(1001); !ok {
		t.Error("another user's refusal is not logged")
	}
	now = now.Add(time.Second)
	if suppressed, ok := r.allow(1000); !ok || suppressed != 100-refusalBurst {
		t.Errorf("a second later: %v, %d lines are said to be missing, want %d", ok, suppressed, 100-refusalBurst)
	}
	for account := range uint32(10 * maxBuckets) {
		now = now.Add(time.Nanosecond)
		r.allow(account)
	}
	if len(r.accounts) > maxBuckets {
		t.Errorf("%d users are remembered", len(r.accounts))
	}
}

// A user in a loop does not push the others' lines out of the log.
func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	now := time.Unix(0, 0)
	d.server.denials = newRefusals(func() time.Time { return now })
	m, a := mallory.Run(t), alice.Run(t)
	for range 3 * refusalBurst {
		d.attach(m, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: "/x"})
	}
	d.attach(a, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: "/x"})
	d.log.waitFor(t, "uid=1000")
	if lines := strings.Count(d.log.String(), "uid=1001"); lines != refusalBurst {
		t.Errorf("%d lines of mallory's, want %d", lines, refusalBurst)
	}
}

// gatedNames knows nobody, and not before the gate opens.
type gatedNames struct{ gate chan struct{} }

func (g gatedNames) UserByID(context.Context, uint32) (nss.User, error) {
	<-g.gate
	return nss.User{}, nss.ErrNotFound
}

// A directory service that is slow to tell a name for the log holds up no answer.
func TestAnswerComesBeforeTheNameLookUp(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	names := gatedNames{make(chan struct{})}
	d.server.users = names
	defer close(names.gate)
	a := alice.Run(t)
	_, r := d.attach(a, "nothing", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: "/x"})
	wantProblem(t, r, api.ResourceNotFound)
}

func TestMethodsThatAPathTakes(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	s := alice.Run(t)
	for path, allow := range map[string]string{"/v1/networks": "GET", "/v1/networks/lan/attach": "POST"} {
		for _, method := range []string{"DELETE", "OPTIONS"} {
			t.Run(fmt.Sprintf("%s %s", method, path), func(t *testing.T) {
				r := d.request(s, testlab.Request{Method: method, Path: path})
				wantProblem(t, r, api.InvalidRequest)
				if got := r.Header.Get("Allow"); r.Status != http.StatusMethodNotAllowed || got != allow {
					t.Errorf("%d, Allow: %q, want %q", r.Status, got, allow)
				}
			})
		}
	}
}
