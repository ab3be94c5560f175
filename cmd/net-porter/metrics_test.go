package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// prometheus:secret, in exporter-toolkit's web configuration.
const webConfig = "basic_auth_users:\n  prometheus: $2a$04$M2DTrd0gWuPuczSGdNYLheXBjyS/1KS6qyD36U03BRHidW5Afm0ca\n"

// Prometheus scrapes over TCP, as whom the administrator has named, and nothing else
// of the daemon is there.
func TestMetricsOnTCP(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, "exit 1")
	web := at.dir + "/web.yml"
	if err := os.WriteFile(web, []byte(webConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(at.config)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(string(data), `"listen":`, `"web_config_file":"`+web+`","listen":`, 1)
	if err := os.WriteFile(at.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := run(t, nil, "server", "-c", at.config)
	p.waitFor("is ready")
	tests := []struct {
		path, password string
		status         int
	}{
		{"/metrics", "secret", http.StatusOK},
		{"/metrics", "wrong", http.StatusUnauthorized},
		{"/metrics", "", http.StatusUnauthorized},
		{"/v1/networks", "secret", http.StatusNotFound},
	}
	for _, tt := range tests {
		q, err := http.NewRequest("GET", "http://127.0.0.1:9758"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.password != "" {
			q.SetBasicAuth("prometheus", tt.password)
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != tt.status {
			t.Errorf("%s with the password %q: %s, want %d", tt.path, tt.password, r.Status, tt.status)
		}
	}
}

// Somebody who opens connections to where metrics are, and leaves them open, takes no
// descriptors from the daemon and no place from anybody on its socket, and no scrape for
// longer than that.
func TestCrowdAtMetrics(t *testing.T) {
	testlab.RequireRoot(t)
	const (
		places = 64
		// spare is for what the daemon opens meanwhile for other reasons.
		spare = 16
	)
	at := newPlace(t, "exit 1")
	p := run(t, nil, "server", "-c", at.config)
	p.waitFor("is ready")
	before := p.descriptors()
	var crowd []net.Conn
	for range places {
		c := dialMetrics(t)
		if c == nil || !askMetrics(c) {
			t.Fatal("who has a place is not answered")
		}
		crowd = append(crowd, c)
	}
	for i := range 200 {
		c := dialMetrics(t)
		if c == nil {
			continue // hung up on
		}
		crowd = append(crowd, c)
		if i%2 == 0 && askMetrics(c) { // the others send nothing
			t.Fatal("there are more places than there should be")
		}
	}
	if n := p.descriptors(); n > before+places+spare {
		t.Errorf("the daemon has %d descriptors open, and had %d", n, before)
	}
	if r := at.get(t, "/healthz"); r.Status != http.StatusOK {
		t.Errorf("health: %d %s", r.Status, r.Body)
	}
	if r := at.get(t, "/metrics"); r.Status != http.StatusOK {
		t.Errorf("metrics on the socket: %d %s", r.Status, r.Body)
	}
	for _, c := range crowd {
		c.Close()
	}
	// Nothing tells of the daemon's having seen that.
	for end := time.Now().Add(time.Minute); !scraped(t); {
		if time.Now().After(end) {
			t.Fatal("no scrape is answered any more")
		}
	}
}

// scraped says whether who connects anew is answered.
func scraped(t *testing.T) bool {
	t.Helper()
	c := dialMetrics(t)
	if c == nil {
		return false
	}
	defer c.Close()
	return askMetrics(c)
}

// dialMetrics connects to where metrics are. It returns nil where it is hung up on before
// the kernel has told of the connection.
func dialMetrics(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:9758")
	if errors.Is(err, unix.ECONNRESET) {
		return nil
	}
	if err == nil {
		t.Cleanup(func() { c.Close() })
		err = c.SetDeadline(time.Now().Add(time.Minute))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// askMetrics says whether the connection's next request is answered.
func askMetrics(c net.Conn) bool {
	_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil && r.StatusCode == http.StatusOK
}

// descriptors is how many the program has open.
func (p *program) descriptors() int {
	p.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(all)
}
