package testlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Prometheus is a real Prometheus in the host namespace of the tests, with a database that
// goes with it.
type Prometheus struct {
	// URL is that of its HTTP API, without the last slash.
	URL string

	t     testing.TB
	log   *logBuffer
	child *child
}

// Series is one of a query's result: its labels, __name__ among them if it has one.
type Series struct {
	Metric map[string]string
}

// StartPrometheus starts one with a configuration file, on an address of its own such as
// 127.0.0.1:9090, and returns when it scrapes. It is gone after the test.
func StartPrometheus(t testing.TB, config, listen string) *Prometheus {
	t.Helper()
	RequireRoot(t)
	program, err := lookProgram("prometheus", "prometheus")
	must(t, err)
	p := &Prometheus{URL: "http://" + listen, t: t, log: newLogBuffer()}
	p.child, err = startChild(nil, exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+listen), p.log)
	must(t, err)
	t.Cleanup(func() {
		if err := p.child.end(unix.SIGTERM, waitBound); err != nil {
			t.Errorf("testlab: Prometheus did not stop well: %v", err)
		}
		if t.Failed() {
			t.Logf("Prometheus' log ends with:\n%s", p.log.tail())
		}
	})
	if !p.log.wait(0, p.child.ended, contains("Server is ready to receive web requests")) {
		t.Fatalf("testlab: Prometheus does not start; its log:\n%s", p.log.tail())
	}
	return p
}

// Get asks the API and reads what is under "data" of its answer into data. Its refusals are
// errors in its own words.
func (p *Prometheus) Get(path string, query url.Values, data any) error {
	response, err := http.Get(p.URL + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %s: %w", path, response.Status, err)
	}
	if answer.Status != "success" {
		return errors.New(strings.TrimSpace(answer.Error))
	}
	return nil
}

// Query is the result of an expression now.
func (p *Prometheus) Query(expr string) ([]Series, error) {
	return p.query("/api/v1/query", url.Values{"query": {expr}})
}

// QueryRange is the result of an expression at any time from begin on, looked at in steps.
func (p *Prometheus) QueryRange(expr string, begin time.Time, step time.Duration) ([]Series, error) {
	seconds := func(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }
	return p.query("/api/v1/query_range", url.Values{
		"query": {expr}, "start": {seconds(begin)}, "end": {seconds(time.Now())}, "step": {step.String()},
	})
}

func (p *Prometheus) query(path string, query url.Values) ([]Series, error) {
	var data struct{ Result []Series }
	if err := p.Get(path, query, &data); err != nil {
		return nil, fmt.Errorf("%s: %w", query.Get("query"), err)
	}
	return data.Result, nil
}
