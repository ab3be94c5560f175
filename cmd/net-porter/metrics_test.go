package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

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
