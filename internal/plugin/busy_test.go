package plugin

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
)

// busy is the daemon's answer to who has too much going on.
func busy(retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		problem(http.StatusTooManyRequests, api.Busy, "too much at once: wait a moment")(w, r)
	}
}

// In a crowd a container starts, or is removed, a little later.
func TestABusyDaemonIsAskedAgainWhenItSays(t *testing.T) {
	create := podmanNetwork(t, map[string]any{"options": strs{"net_porter_resource": "macvlan-dhcp", "socket": "SOCKET"}})
	tests := []struct {
		name, stdin string
		args        []string
		answer      http.HandlerFunc
		stdout      string
	}{
		{"create", create, []string{"create"}, answer(api.Network{Name: "macvlan-dhcp", Ready: true}), networkID},
		{"setup", execAll, []string{"setup", netnsPath}, answer(attached()), attachedReply},
		{"teardown", exec1x, []string{"teardown", netnsPath}, noContent, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := startDaemon(t, "", inTurn(busy("3"), busy("1"), tt.answer))
			var waits []time.Duration
			code, stdout, stderr := runPlugin(t, func(h *handler) {
				h.wait = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
			}, document(d, tt.stdin), tt.args...)
			if code != 0 || stderr != "" || !strings.Contains(stdout, tt.stdout) {
				t.Fatalf("exit %d, stdout %s, stderr %s", code, stdout, stderr)
			}
			if want := []time.Duration{3 * time.Second, time.Second}; !reflect.DeepEqual(waits, want) {
				t.Errorf("waited %v, want %v", waits, want)
			}
			first := <-d.requests
			for range 2 {
				if again := <-d.requests; !reflect.DeepEqual(again, first) {
					t.Errorf("sent %+v, then %+v", first, again)
				}
			}
		})
	}
}

func TestABusyDaemonIsAskedForAMinute(t *testing.T) {
	d := startDaemon(t, "", busy("7"))
	code, stdout, _ := runPlugin(t, nil, document(d, exec1x), "setup", netnsPath)
	if text := errorText(t, stdout); code != 1 || text != "net-porter: too much at once: wait a moment" {
		t.Errorf("exit %d, %q", code, text)
	}
	if n := len(d.requests); n != 9 { // after 0, 7, ... 56 s
		t.Errorf("%d requests", n)
	}
	// A teardown that fails would leave podman with a container that it cannot remove.
	d = startDaemon(t, "", busy("7"))
	if code, _, stderr := runPlugin(t, nil, document(d, exec1x), "teardown", netnsPath); code != 0 || !strings.Contains(stderr, "too much at once") {
		t.Errorf("teardown: exit %d, stderr %s", code, stderr)
	}
}

func TestSignalsEndTheWaitForABusyDaemon(t *testing.T) {
	d := startDaemon(t, "", busy("1"))
	c, err := testHandler(nil).client(d.socket, patience)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.wait = func(ctx context.Context, _ time.Duration) error { cancel(); return wait(ctx, time.Hour) }
	if _, err := c.network(ctx, "lan"); !errors.Is(err, errInterrupted) {
		t.Errorf("got %v", err)
	}
}

// What a header says is not waited for without bounds.
func TestBusyWait(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": time.Second, "0": time.Second, "-5": time.Second, "x": time.Second, "Wed, 21 Oct 2026 07:28:00 GMT": time.Second,
		"1": time.Second, "4": 4 * time.Second, "60": maxBusyWait, "65535": maxBusyWait, "99999999999999999999": time.Second,
	} {
		if got := busyWait(http.Header{"Retry-After": {header}}); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}
