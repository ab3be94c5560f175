package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/testlab"
)

// A request whose body never comes is answered all the same, whatever handler it is
// for: net/http waits for the rest of it before it answers.
func TestBodiesThatNeverCome(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, bodyTimeout: 100 * time.Millisecond})
	for name, head := range map[string]string{
		"to be read":         "POST /v1/networks/lan/attach HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"that nobody reads":  "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
		"of another type":    "POST /v1/networks/lan/attach HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n",
		"of a browser":       "POST /v1/networks/lan/attach HTTP/1.1\r\nHost: localhost\r\nOrigin: x\r\nContent-Length: 100\r\n\r\n",
		"of unknown length":  "GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
		"for OPTIONS of all": "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := must(net.Dial("unix", d.socket))(t)
			defer c.Close()
			must(fmt.Fprint(c, head))(t)
			response, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				return // hung up on, which is an answer, too
			}
			response.Body.Close()
			// Nor is the connection kept for the sake of the body.
			ok(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the daemon still waits for the body")
			}
		})
	}
}

// What is answered without the body does not wait for it.
func TestAnswersThatNeedNoBody(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, bodyTimeout: time.Hour})
	const body = "Content-Length: 100\r\n\r\n"
	for head, status := range map[string]int{
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + body:                                                          http.StatusOK,
		"POST /v1/networks/lan/attach HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n" + body:              http.StatusUnsupportedMediaType,
		"POST /v1/networks/lan/attach HTTP/1.1\r\nHost: localhost\r\nOrigin: x\r\n" + body:                             http.StatusForbidden,
		"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n" + body:                                                          http.StatusForbidden,
		"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n":                              http.StatusNotFound,
		"GET /v1/networks/lan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + body + "{\"half\":": http.StatusNotFound,
	} {
		c := must(net.Dial("unix", d.socket))(t)
		defer c.Close()
		must(fmt.Fprint(c, head))(t)
		ok(t, c.SetReadDeadline(time.Now().Add(time.Minute))) // far below the body's
		response := must(http.ReadResponse(bufio.NewReader(c), nil))(t)
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%q is answered %s, want %d", head, response.Status, status)
		}
	}
}

// Whoever asks and asks and reads nothing is hung up on.
func TestAnswersThatNobodyTakes(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, bodyTimeout: 200 * time.Millisecond})
	c := must(net.Dial("unix", d.socket))(t)
	defer c.Close()
	ok(t, c.SetWriteDeadline(time.Now().Add(time.Minute)))
	request := strings.Repeat("GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n", 1000)
	for {
		if _, err := fmt.Fprint(c, request); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the daemon waits for its answers to be taken")
		} else if err != nil {
			return
		}
	}
}

// The bound of one answer does not end the next one on the same connection.
func TestConnectionOutlivesTheBoundOfAnAnswer(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, bodyTimeout: 500 * time.Millisecond})
	c := must(net.Dial("unix", d.socket))(t)
	defer c.Close()
	answers := bufio.NewReader(c)
	for range 3 {
		must(fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))(t)
		response := must(http.ReadResponse(answers, nil))(t)
		must(io.Copy(io.Discard, response.Body))(t)
		<-time.After(600 * time.Millisecond) // the bound of this one is over
	}
}

// An attach may take longer than a body may.
func TestSlowAttachOutlivesTheBodyTimeout(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{
		conflists:   map[string]string{"lan": chained("fake")},
		pluginDirs:  pluginDirs(t, "fake", `test "$CNI_COMMAND" = ADD || exit 0; sleep 1; sed 's/.*"prevResult":\(.*\),"type":"fake".*/\1/'`),
		bodyTimeout: 100 * time.Millisecond,
	})
	s, dir := sandboxWithDir(t, alice)
	ns := container(t, s, dir)
	if _, r := d.attach(s, "lan", api.AttachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns}); r.Status != http.StatusOK {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	d.detach(s, "lan", api.DetachRequest{ContainerID: containerID, InterfaceName: "eth0", Netns: ns})
}

// Whoever hangs on the socket holds up no stop.
func TestStopDoesNotWaitForIdlers(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}, bodyTimeout: time.Hour})
	path := testlab.PublicDir(t) + "/s"
	socket := must(Listen(path, 0, 0, 0o666))(t)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() {
		served <- d.server.Serve(ctx, socket.UnixListener, func() time.Duration { return 10 * time.Minute })
	}()
	for _, head := range []string{"", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", "POST /v1"} {
		c := must(net.Dial("unix", path))(t)
		defer c.Close()
		must(fmt.Fprint(c, head))(t)
	}
	// Answered on a connection that was accepted after those.
	c := must(net.Dial("unix", path))(t)
	defer c.Close()
	must(fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))(t)
	must(http.ReadResponse(bufio.NewReader(c), nil))(t).Body.Close()
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// What a caller wrote comes back, and goes into the log, in bounds.
func TestLongValuesAreCut(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	s := alice.Run(t)
	long := strings.Repeat("x", 200_000)
	for name, body := range map[string]string{
		"an unknown key": `{"` + long + `":1}`,
		"a number":       `{"container_id":` + strings.Repeat("1", 200_000) + `}`,
		"a string":       `{"container_id":"` + long + `","interface_name":"eth0","netns":"/x"}`,
		"an option":      `{"container_id":"x","interface_name":"eth0","netns":"/x","options":{"` + long + `":""}}`,
		"a path":         `{"container_id":"x","interface_name":"eth0","netns":"/` + long + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := d.post(s, "/v1/networks/lan/attach", []byte(body))
			wantProblem(t, r, api.InvalidRequest)
			if len(r.Body) > 2000 {
				t.Errorf("the answer has %d bytes", len(r.Body))
			}
		})
	}
	for line := range strings.Lines(d.log.String()) {
		if len(line) > 4000 {
			t.Errorf("a line of the log has %d bytes: %.200s…", len(line), line)
		}
	}
}

// The subordinate uids of a user are the user's, who has to call as themselves.
func TestSubordinateUsersAreRefused(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	d := start(t, setup{conflists: map[string]string{"lan": staticConflist}})
	request := must(http.NewRequest("GET", "http://localhost/v1/networks", nil))(t)
	for account, status := range map[uint32]int{1000: http.StatusOK, 1001: http.StatusForbidden} {
		w := &recorder{header: http.Header{}}
		ctx := peer.NewContext(t.Context(), peer.Identity{UID: 1000, Account: account})
		d.server.Handler().ServeHTTP(w, request.WithContext(ctx))
		if w.status != status {
			t.Errorf("uid 1000 of %d: status %d, want %d", account, w.status, status)
		}
	}
}

type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}
func (r *recorder) Write(p []byte) (int, error) { r.WriteHeader(http.StatusOK); return len(p), nil }
