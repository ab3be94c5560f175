package plugin

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/api"
)

// inTurn answers the first request with the first handler and so on, all further ones
// with the last.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		handlers[min(int(n.Add(1)), len(handlers))-1](w, r)
	}
}

func TestACommandWaitsForARestart(t *testing.T) {
	for _, stale := range []bool{false, true} {
		path := filepath.Join(shortDir(t), "d.sock")
		if stale { // a socket file without a listener refuses connections
			l := listen(t, path)
			l.SetUnlinkOnClose(false)
			_ = l.Close()
		}
		pauses := 0
		code, stdout, stderr := runPlugin(t, func(h *handler) {
			h.pause = func(context.Context) error {
				if pauses++; pauses == 3 {
					_ = os.Remove(path)
					startDaemon(t, path, answer(attached()))
				}
				return nil
			}
		}, strings.ReplaceAll(exec1x, "SOCKET", path), "setup", netnsPath)
		if code != 0 || stdout != attachedReply || pauses != 3 {
			t.Fatalf("stale %v: exit %d after %d pauses, stdout %s, stderr %s", stale, code, pauses, stdout, stderr)
		}
	}
}

func TestACommandGivesUpWaiting(t *testing.T) {
	pauses := 0
	h := testHandler(os.Stderr)
	h.pause = func(context.Context) error { pauses++; return nil }
	c, err := h.client("/nonexistent/d.sock", patience)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.network(t.Context(), "lan"); !errors.Is(err, unix.ENOENT) || pauses != 40 {
		t.Errorf("%v after %d pauses", err, pauses)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.pause = func(ctx context.Context) error { cancel(); return pause(ctx) }
	if _, err := c.network(ctx, "lan"); err != errInterrupted {
		t.Errorf("cancelled: %v", err)
	}
}

// A daemon that stops may take a connection and close it unread or unanswered. The
// commands must not fail by that, and send all of the request again.
func TestARequestWithoutAnswerIsRepeated(t *testing.T) {
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
			d := startDaemon(t, "", inTurn(hangUp, rawAnswer("HTTP/1.1 200 OK\r\n"), rawAnswer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{"), tt.answer))
			pauses := 0
			code, stdout, stderr := runPlugin(t, func(h *handler) {
				h.pause = func(context.Context) error { pauses++; return nil }
			}, document(d, tt.stdin), tt.args...)
			if code != 0 || stderr != "" || !strings.Contains(stdout, tt.stdout) || pauses != 3 {
				t.Fatalf("exit %d after %d pauses, stdout %s, stderr %s", code, pauses, stdout, stderr)
			}
			first := <-d.requests
			for range 3 {
				if again := <-d.requests; !reflect.DeepEqual(again, first) {
					t.Errorf("sent %+v, then %+v", first, again)
				}
			}
		})
	}
}

// Whoever closes the connection with the request unread resets it; one who closes at
// once breaks the pipe or ends it, as it happens.
func TestAConnectionClosedUnreadIsRepeated(t *testing.T) {
	for _, waits := range []bool{true, false} {
		path := filepath.Join(shortDir(t), "d.sock")
		l := listen(t, path)
		server := &http.Server{Handler: answer(attached())}
		t.Cleanup(func() { _ = server.Close() })
		go func() {
			for range 3 {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				if waits {
					_, _ = conn.Read(make([]byte, 1))
				}
				_ = conn.Close()
			}
			_ = server.Serve(l)
		}()
		code, stdout, stderr := runPlugin(t, nil, strings.ReplaceAll(exec1x, "SOCKET", path), "setup", netnsPath)
		if code != 0 || stdout != attachedReply {
			t.Errorf("waits %v: exit %d, stdout %s, stderr %s", waits, code, stdout, stderr)
		}
	}
}

// A request that crashes the daemon must not keep it from coming back.
func TestARequestIsNotRepeatedForLong(t *testing.T) {
	d := startDaemon(t, "", hangUp)
	code, stdout, _ := runPlugin(t, nil, document(d, exec1x), "setup", netnsPath)
	want := "net-porter: the daemon at " + d.socket + " closed the connection without an answer, more than once; see `journalctl -u net-porter`"
	if text := errorText(t, stdout); code != 1 || !strings.HasPrefix(text, want) {
		t.Errorf("exit %d, %q", code, text)
	}
	if n := len(d.requests); n != 4 {
		t.Errorf("%d requests", n)
	}
}

func TestAnAttachWhoseAnswerWasLostIsMadeAnew(t *testing.T) {
	already := problem(http.StatusConflict, api.AlreadyAttached, "the container already has this interface")
	tests := []struct {
		name    string
		answers http.HandlerFunc
		paths   []string
		err     string
	}{
		{"lost", inTurn(hangUp, already, noContent, answer(attached())), []string{"attach", "attach", "detach", "attach"}, ""},
		{"detach is lost too", inTurn(hangUp, already, hangUp, noContent, answer(attached())), []string{"attach", "attach", "detach", "detach", "attach"}, ""},
		{"once more only", inTurn(hangUp, already, noContent, hangUp, already), []string{"attach", "attach", "detach", "attach", "attach"}, "net-porter: the container already has this interface"},
		{"detach is refused", inTurn(hangUp, already, problem(500, api.Internal, "the disk is full")), []string{"attach", "attach", "detach"}, "net-porter: the disk is full"},
		// An interface that somebody uses is not taken away.
		{"none was lost", already, []string{"attach"}, "net-porter: the container already has this interface"},
		{"another problem", inTurn(hangUp, problem(502, api.CniFailed, "it failed")), []string{"attach", "attach"}, "net-porter: it failed"},
		{"busy in between", inTurn(hangUp, busy("1"), already, busy("1"), noContent, busy("1"), answer(attached())),
			[]string{"attach", "attach", "attach", "detach", "detach", "attach", "attach"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := startDaemon(t, "", tt.answers)
			code, stdout, stderr := runPlugin(t, nil, document(d, exec1x), "setup", netnsPath)
			if tt.err != "" {
				if text := errorText(t, stdout); code != 1 || text != tt.err {
					t.Errorf("exit %d, %q", code, text)
				}
			} else if code != 0 || stdout != attachedReply || stderr != "" {
				t.Errorf("exit %d, stdout %s, stderr %s", code, stdout, stderr)
			}
			var paths []string
			for range len(d.requests) {
				got := <-d.requests
				paths = append(paths, filepath.Base(got.path))
				want := api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: netnsPath}
				if filepath.Base(got.path) == "detach" && got.detach != want {
					t.Errorf("detached %+v", got.detach)
				}
			}
			if !reflect.DeepEqual(paths, tt.paths) {
				t.Errorf("called %v, want %v", paths, tt.paths)
			}
		})
	}
}

// Waiting for a daemon that is down is not what "already attached" is doubted for.
func TestWaitingForTheDaemonLosesNoAnswer(t *testing.T) {
	path := filepath.Join(shortDir(t), "d.sock")
	d := &daemon{}
	code, stdout, _ := runPlugin(t, func(h *handler) {
		h.pause = func(context.Context) error {
			d = startDaemon(t, path, problem(http.StatusConflict, api.AlreadyAttached, "it is there"))
			return nil
		}
	}, strings.ReplaceAll(exec1x, "SOCKET", path), "setup", netnsPath)
	if text := errorText(t, stdout); code != 1 || text != "net-porter: it is there" || len(d.requests) != 1 {
		t.Errorf("exit %d, %q, %d requests", code, text, len(d.requests))
	}
}

func TestTimeoutReadsWell(t *testing.T) {
	for d, want := range map[time.Duration]string{requestTimeout: "5 minutes", 90 * time.Second: "1m30s", 50 * time.Millisecond: "50ms"} {
		if got := inWords(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
