package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/selfcheck"
	"github.com/net-porter/net-porter/internal/testlab"
)

// crowd is a daemon with limits that are soon reached, for alice and eve.
func crowd(t *testing.T, limits config.Limits, patience time.Duration) *daemon {
	t.Helper()
	testlab.NewLAN(t, testlab.WithoutServer())
	return start(t, setup{
		conflists: map[string]string{"lan": staticConflist}, users: []testlab.User{alice, eve},
		limits: limits, patience: patience,
	})
}

// wantBusy fails the test unless the answer is that there is too much going on, and
// when to come back.
func wantBusy(t *testing.T, r testlab.Response) {
	t.Helper()
	wantProblem(t, r, api.Busy)
	if got := r.Header.Get("Retry-After"); r.Status != http.StatusTooManyRequests || got != "1" {
		t.Errorf("%d, Retry-After: %q", r.Status, got)
	}
}

// wantMetric fails the test unless root sees the line.
func (d *daemon) wantMetric(line string) {
	d.t.Helper()
	text := string(d.get(testlab.User{}.Run(d.t), "/metrics").Body)
	if !strings.Contains(text, "\n"+line+"\n") {
		d.t.Errorf("missing in the metrics: %s", line)
	}
}

// waiting returns once so many wait for a turn, which nothing else tells.
func (d *daemon) waiting(n int) {
	d.t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(time.Minute); ; <-again.C {
		_, waiting := d.turns.Counts()
		switch {
		case waiting == n:
			return
		case time.Now().After(end):
			d.t.Fatalf("%d wait for a turn, want %d", waiting, n)
		}
	}
}

// hold takes a turn of a user's, as work that hangs does.
func (d *daemon) hold(u testlab.User) (leave func()) {
	d.t.Helper()
	_, leave, err := d.turns.Enter(context.Background(), u.UID, fair.Make)
	ok(d.t, err)
	d.t.Cleanup(leave)
	return leave
}

// attaches asks for n attachments of a user's at once, each in a container of its own.
func (d *daemon) attaches(u testlab.User, n int) (answers func() []testlab.Response) {
	d.t.Helper()
	all := make([]testlab.Response, n)
	var running sync.WaitGroup
	for i := range n {
		s, dir := sandboxWithDir(d.t, u)
		ns := container(d.t, s, dir)
		running.Go(func() {
			_, all[i] = d.attach(s, "lan", api.AttachRequest{ContainerID: fmt.Sprintf("c%d", i), InterfaceName: "eth0", Netns: ns})
		})
	}
	return func() []testlab.Response { running.Wait(); return all }
}

func wantStatus(t *testing.T, who string, r testlab.Response, status int) {
	t.Helper()
	if r.Status != status {
		t.Errorf("%s: %d %s", who, r.Status, r.Body)
	}
}

// Whoever has as much under way as they may is told so, and nobody else notices.
func TestRequestsInFlight(t *testing.T) {
	limits := config.Limits{ConnectionsPerUser: 64, RequestsPerUser: 2, RatePerUser: 50, PluginRuns: 2, PluginRunsPerUser: 1}
	d := crowd(t, limits, time.Hour)
	leave := d.hold(eve)
	answers := d.attaches(eve, 2)
	d.waiting(2)
	e, a := eve.Run(t), alice.Run(t)
	detach := api.DetachRequest{ContainerID: "none", InterfaceName: "eth0"}
	_, r := d.attach(e, "lan", api.AttachRequest{ContainerID: "more", InterfaceName: "eth0", Netns: "/x"})
	wantBusy(t, r)
	wantBusy(t, d.detach(e, "lan", detach))
	wantBusy(t, d.post(e, "/v1/attachments/1002.more@eth0/check", []byte{}))
	wantStatus(t, "who only asks", d.get(e, "/v1/networks"), http.StatusOK)
	wantStatus(t, "another user's detach", d.detach(a, "lan", detach), http.StatusNoContent)
	wantStatus(t, "another user's attach", d.attaches(alice, 1)()[0], http.StatusOK)
	d.wantMetric(`net_porter_refused_total{reason="in_flight"} 3`)
	d.wantMetric(`net_porter_turns_running 1`)
	d.wantMetric(`net_porter_turns_waiting 2`)

	limits.RequestsPerUser = 3
	d.server.SetLimits(limits)
	wantStatus(t, "with a higher limit", d.detach(e, "lan", detach), http.StatusNoContent)
	leave()
	for _, r := range answers() {
		wantStatus(t, "who had to wait", r, http.StatusOK)
	}
}

// Whoever asks too often is told when to come back; others, and root, notice nothing.
func TestRateOfRequests(t *testing.T) {
	const burst = burstOfRate // of one a second
	d := crowd(t, config.Limits{ConnectionsPerUser: 64, RequestsPerUser: 16, RatePerUser: 1, PluginRuns: 2, PluginRunsPerUser: 1}, 0)
	now := time.Unix(0, 0)
	clock := func() time.Time { return now }
	d.server.begun.now, d.server.asked.now = clock, clock
	e, a, root := eve.Run(t), alice.Run(t), testlab.User{}.Run(t)
	detach := func(s *testlab.Sandbox) testlab.Response {
		return d.detach(s, "lan", api.DetachRequest{ContainerID: "none", InterfaceName: "eth0"})
	}
	for range burst {
		wantStatus(t, "within the burst", detach(e), http.StatusNoContent)
	}
	wantBusy(t, detach(e))
	_, r := d.attach(e, "lan", api.AttachRequest{ContainerID: "x", InterfaceName: "eth0", Netns: "/x"})
	wantBusy(t, r)
	for range burst { // asking is paced by itself
		wantStatus(t, "who only asks", d.get(e, "/v1/attachments"), http.StatusOK)
	}
	wantBusy(t, d.get(e, "/v1/networks"))
	wantStatus(t, "another user", detach(a), http.StatusNoContent)
	for range 3 * burst {
		wantStatus(t, "root", detach(root), http.StatusNoContent)
		wantStatus(t, "root", d.get(root, "/v1/attachments"), http.StatusOK)
	}
	now = now.Add(time.Second)
	wantStatus(t, "after as long as was said", detach(e), http.StatusNoContent)
	d.wantMetric(`net_porter_refused_total{reason="rate"} 3`)
}

// Whatever is asked, and be it nothing that there is, nobody may ask it faster than they may
// attach; root may.
func TestRateOfRequestsForNothing(t *testing.T) {
	const burst = burstOfRate // of one a second
	for what, q := range map[string]testlab.Request{
		"no such path":                {Method: "POST", Path: "/nowhere"},
		"no such method":              {Method: "DELETE", Path: "/v1/networks/lan/attach"},
		"a method nobody knows":       {Method: "BREW", Path: "/v1/networks/lan/attach"},
		"a path without a resource":   {Method: "POST", Path: "/v1/networks//attach"},
		"a browser's read":            {Method: "GET", Path: "/v1/networks", Header: http.Header{"Origin": {"http://localhost"}}},
		"a browser's attach":          {Method: "POST", Path: "/v1/networks/lan/attach", Header: http.Header{"Origin": {"http://localhost"}}},
		"what is for root to collect": {Method: "POST", Path: "/v1/gc", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte("{}")},
	} {
		t.Run(what, func(t *testing.T) {
			d := crowd(t, config.Limits{ConnectionsPerUser: 64, RequestsPerUser: 16, RatePerUser: 1, PluginRuns: 2, PluginRunsPerUser: 1}, 0)
			now := time.Unix(0, 0)
			clock := func() time.Time { return now }
			d.server.begun.now, d.server.asked.now = clock, clock
			e, root := eve.Run(t), testlab.User{}.Run(t)
			for range burst {
				if r := d.request(e, q); r.Status == http.StatusTooManyRequests {
					t.Errorf("within the burst: %d %s", r.Status, r.Body)
				}
			}
			wantBusy(t, d.request(e, q))
			wantStatus(t, "attaching is paced by itself", d.detach(e, "lan", api.DetachRequest{ContainerID: "none", InterfaceName: "eth0"}), http.StatusNoContent)
			for range 2 * burst {
				if r := d.request(root, q); r.Status == http.StatusTooManyRequests {
					t.Errorf("root: %d %s", r.Status, r.Body)
				}
			}
			now = now.Add(time.Second)
			if r := d.request(e, q); r.Status == http.StatusTooManyRequests {
				t.Errorf("after as long as was said: %d %s", r.Status, r.Body)
			}
		})
	}
}

// oneTurn are limits by which one chain of plugins runs at a time.
var oneTurn = config.Limits{ConnectionsPerUser: 64, RequestsPerUser: 16, RatePerUser: 50, PluginRuns: 1, PluginRunsPerUser: 1}

// An attach whose turn does not come has begun nothing, and is not said to have failed.
func TestTurnThatDoesNotCome(t *testing.T) {
	d := crowd(t, oneTurn, time.Millisecond)
	leave := d.hold(eve)
	wantBusy(t, d.attaches(alice, 1)()[0])
	d.wantNothingLeft()
	d.wantMetric(`net_porter_refused_total{reason="turn"} 1`)
	leave()
	wantStatus(t, "once a turn is free", d.attaches(alice, 1)()[0], http.StatusOK)
}

// A detach does not fail for want of a turn, however long that takes.
func TestDetachWaitsForItsTurn(t *testing.T) {
	d := crowd(t, oneTurn, time.Millisecond)
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	_, r := d.attach(s, "lan", api.AttachRequest{ContainerID: "c", InterfaceName: "eth0", Netns: ns})
	wantStatus(t, "attach", r, http.StatusOK)
	leave := d.hold(eve)
	answer := make(chan testlab.Response, 1)
	go func() {
		answer <- d.detach(s, "lan", api.DetachRequest{ContainerID: "c", InterfaceName: "eth0", Netns: ns})
	}()
	d.waiting(1)
	leave()
	wantStatus(t, "detach", <-answer, http.StatusNoContent)
	d.wantNothingLeft()
}

// A daemon that stops sends those who wait for their turn to the next one: by hanging up,
// which podman's plugin understands, and with nothing begun.
func TestStopSendsAwayWhoWaits(t *testing.T) {
	d := crowd(t, oneTurn, time.Hour)
	path := testlab.PublicDir(t) + "/s"
	socket := must(Listen(path, 0, 0, 0o666))(t)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() {
		served <- d.server.Serve(ctx, socket.UnixListener, func() time.Duration { return 10 * time.Minute })
	}()
	d.hold(eve)
	s, dir := sandboxWithDir(t, alice)
	body := attachText(container(t, s, dir))
	answer := make(chan string)
	go func() {
		_, err := s.TryHTTP(path, testlab.Request{
			Method: "POST", Path: "/v1/networks/lan/attach", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body),
		})
		answer <- fmt.Sprint(err)
	}()
	d.waiting(1)
	stop()
	if got := <-answer; !strings.Contains(got, "EOF") && !strings.Contains(got, "reset") {
		t.Errorf("who waited was not hung up on: %s", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	d.wantNothingLeft()
}

func attachText(netns string) string {
	return fmt.Sprintf(`{"container_id":"c","interface_name":"eth0","netns":%q}`, netns)
}

// Hundreds of connections of one user take no place of another's.
func TestStalledConnections(t *testing.T) {
	const stalled = 500
	limits := defaultLimits(t)
	d := crowd(t, limits, 0)
	e := eve.Run(t)
	for range stalled {
		e.Dial(d.socket)
	}
	wantStatus(t, "another user", d.attaches(alice, 1)()[0], http.StatusOK)
	// Alice's came after all of eve's, and they are accepted in their order.
	d.wantMetric(fmt.Sprintf(`net_porter_refused_total{reason="connections"} %d`, stalled-limits.ConnectionsPerUser))
	limits.ConnectionsPerUser++
	d.server.SetLimits(limits)
	wantStatus(t, "with a higher limit", d.get(eve.Run(t), "/healthz"), http.StatusOK)
}

// Somebody who connects as fast as can be keeps nobody else out, and no daemon from finding
// that it works: systemd would kill it.
func TestWhoeverConnectsAllTheTime(t *testing.T) {
	d := crowd(t, defaultLimits(t), 0)
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	works := selfcheck.Socket(d.socket, false)
	e := eve.Run(t)
	e.Throng(d.socket)
	for range 10 {
		_, r := d.attach(s, "lan", api.AttachRequest{ContainerID: "c", InterfaceName: "eth0", Netns: ns})
		wantStatus(t, "another user's attach", r, http.StatusOK)
		wantStatus(t, "another user's detach", d.detach(s, "lan", api.DetachRequest{ContainerID: "c", InterfaceName: "eth0", Netns: ns}), http.StatusNoContent)
		ok(t, works(t.Context()))
	}
	e.Hangup()
}

// What comes with subordinate uids is refused before it takes a place or a token of
// anybody's: a user with 65,536 of them has no more than one.
func TestSubordinateUsersTakeNoPlaces(t *testing.T) {
	d := crowd(t, config.Limits{ConnectionsPerUser: 64, RequestsPerUser: 1, RatePerUser: 1, PluginRuns: 1, PluginRunsPerUser: 1}, 0)
	for i := range uint32(100) {
		request := must(http.NewRequest("POST", "http://localhost/v1/networks/lan/attach", io.NopCloser(strings.NewReader(attachText("/x")))))(t)
		request.Header.Set("Content-Type", "application/json")
		w := &recorder{header: http.Header{}}
		ctx := peer.NewContext(t.Context(), peer.Identity{UID: 100_000 + i, Account: eve.UID})
		d.server.Handler().ServeHTTP(w, request.WithContext(ctx))
		if w.status != http.StatusForbidden {
			t.Fatalf("uid %d of eve's: %d", 100_000+i, w.status)
		}
	}
	if n := len(d.server.begun.accounts) + len(d.server.asked.accounts); n != 0 {
		t.Errorf("%d accounts are remembered", n)
	}
	wantStatus(t, "eve herself", d.detach(eve.Run(t), "lan", api.DetachRequest{ContainerID: "c", InterfaceName: "eth0"}), http.StatusNoContent)
}
