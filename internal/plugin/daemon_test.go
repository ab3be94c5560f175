package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/netavark"
)

const containerID = "2d0fe608dc8622fd2b1de6a0c3d0c2d4a6f2ab4a7b6c5d4e3f2a1b0c9d8e7f60"

// daemon is a stand-in for the daemon on a unix socket. It answers what a test
// sets, and keeps the requests.
type daemon struct {
	socket   string
	answer   http.HandlerFunc
	requests chan request
}

type request struct {
	method, path, host string
	attach             api.AttachRequest
	detach             api.DetachRequest
}

// startDaemon listens on socket, or where it likes when that is empty.
func startDaemon(t *testing.T, socket string, answer http.HandlerFunc) *daemon {
	t.Helper()
	if socket == "" {
		socket = filepath.Join(shortDir(t), "d.sock")
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{socket: socket, answer: answer, requests: make(chan request, 64)}
	server := &http.Server{Handler: d}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return d
}

// shortDir is a temporary directory whose path leaves room for a socket's name, and
// that every user may enter.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "np")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := request{method: r.Method, path: r.URL.EscapedPath(), host: r.Host}
	strict := json.NewDecoder(r.Body)
	strict.DisallowUnknownFields()
	var err error
	switch filepath.Base(r.URL.Path) {
	case "attach":
		err = strict.Decode(&got.attach)
	case "detach":
		err = strict.Decode(&got.detach)
	}
	if err != nil {
		problem(http.StatusBadRequest, api.InvalidRequest, err.Error())(w, r)
		return
	}
	d.requests <- got
	d.answer(w, r)
}

func problem(status int, code api.ProblemCode, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", api.ProblemMediaType)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(api.Problem{
			Type: api.ProblemTypePrefix + string(code), Title: "Title", Status: status, Detail: detail, Code: code,
		})
	}
}

func answer(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
}

func noContent(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// hangUp closes the connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// rawAnswer sends text, which need not be HTTP, and closes the connection.
func rawAnswer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}
}

// testHandler is a handler that gives up instead of waiting for a daemon, for which time
// passes only while it is busy, and that finds no netavark.
func testHandler(stderr io.Writer) *handler {
	h := newHandler(stderr)
	h.pause = func(context.Context) error { return nil }
	now := time.Unix(0, 0)
	h.now = func() time.Time { return now }
	h.wait = func(_ context.Context, d time.Duration) error { now = now.Add(d); return nil }
	h.netavarkDirs = nil
	return h
}

// runPlugin runs one command the way netavark does.
func runPlugin(t *testing.T, change func(*handler), stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	h := testHandler(&errs)
	if change != nil {
		change(h)
	}
	code = netavark.Run(t.Context(), h, args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func errorText(t *testing.T, stdout string) string {
	t.Helper()
	var doc map[string]string
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || len(doc) != 1 || doc["error"] == "" {
		t.Fatalf("stdout is not an error document: %q (%v)", stdout, err)
	}
	return doc["error"]
}

// document is JSON with the socket's path in place of SOCKET.
func document(d *daemon, text string) string {
	return strings.ReplaceAll(text, "SOCKET", d.socket)
}
