package taken_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/taken"
)

func listen(t *testing.T) (net.Listener, func(patience time.Duration) taken.Doer) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, func(patience time.Duration) taken.Doer {
		return taken.Doer{Socket: "/run/d.sock", Patience: patience, Client: &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
			},
		}}}
	}
}

func request(t *testing.T, method string) *http.Request {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(strings.Repeat("x", 100_000))
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost/", body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARequestThatNobodyTakesEnds(t *testing.T) {
	_, doer := listen(t) // nobody accepts
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		_, err := doer(10 * time.Millisecond).Do(request(t, method))
		var untaken *taken.Error
		if !errors.As(err, &untaken) || !strings.HasPrefix(err.Error(), "nobody took the request at /run/d.sock within 0.01 s: systemd holds") {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// What takes long once it is taken, such as an attach, is waited for; and so is its body.
func TestARequestThatIsTakenHasItsTime(t *testing.T) {
	l, doer := listen(t)
	patience := time.Second // for a busy machine to take it
	long := func(r *http.Request) error {
		select {
		case <-time.After(patience + patience/5):
			return nil
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != 100_000 {
			t.Errorf("read %d bytes: %v", n, err)
		}
		if err := long(r); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
		_ = http.NewResponseController(w).Flush()
		if err := long(r); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "done")
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })

	response, err := doer(patience).Do(request(t, http.MethodPost))
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(response.Body)
	if err != nil || string(said) != "done" || response.StatusCode != http.StatusAccepted {
		t.Errorf("%s %q: %v", response.Status, said, err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
}

// Whoever gives up is told so, and not that the daemon does not run.
func TestTheCallersContextStaysItsOwn(t *testing.T) {
	_, doer := listen(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := doer(time.Minute).Do(request(t, http.MethodPost).WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
