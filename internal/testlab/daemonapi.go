package testlab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// HTTP makes a request of the API as root, on a connection of its own.
func (d *Daemon) HTTP(r Request) Response {
	d.t.Helper()
	response, err := d.TryHTTP(r)
	if err != nil {
		d.t.Fatalf("testlab: %s %s as root: %v", r.Method, r.Path, err)
	}
	return response
}

// TryHTTP is HTTP for a daemon that may be killed before it answers, which is an error.
func (d *Daemon) TryHTTP(r Request) (Response, error) {
	response, err := (&process{}).request(d.Socket, &r)
	if err != nil {
		return Response{}, err
	}
	return *response, nil
}

// get is what root gets at a path, which must be there.
func (d *Daemon) get(path string) []byte {
	d.t.Helper()
	r := d.HTTP(Request{Method: http.MethodGet, Path: path})
	if r.Status != http.StatusOK {
		d.t.Fatalf("testlab: GET %s as root: %d %s", path, r.Status, r.Body)
	}
	return r.Body
}

// Attachments is the answer to GET /v1/attachments as root: everybody's, in JSON.
func (d *Daemon) Attachments() []byte { d.t.Helper(); return d.get("/v1/attachments") }

// Metrics is the answer to GET /metrics, in Prometheus' text format.
func (d *Daemon) Metrics() string { d.t.Helper(); return string(d.get("/metrics")) }

// Metric is the value of one series, written as in Metrics: a name, and labels in
// braces if it has any. A series that is not there is 0.
func (d *Daemon) Metric(series string) float64 {
	d.t.Helper()
	for line := range strings.Lines(d.Metrics()) {
		if text, ok := strings.CutPrefix(line, series+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			must(d.t, err)
			return value
		}
	}
	return 0
}

// Attach makes a sandbox ask for an attachment: POST /v1/networks/{resource}/attach.
// The body's keys are those of the API; see Container.AttachBody.
func (d *Daemon) Attach(s *Sandbox, resource string, body map[string]any) (status int, answer []byte) {
	d.t.Helper()
	return d.post(s, resource, "attach", body)
}

// Detach makes a sandbox ask for an attachment's end; see Container.DetachBody.
func (d *Daemon) Detach(s *Sandbox, resource string, body map[string]any) (status int, answer []byte) {
	d.t.Helper()
	return d.post(s, resource, "detach", body)
}

// TryAttach is Attach for a daemon that may be killed before it answers, which is an
// error. It may be called from any goroutine.
func (d *Daemon) TryAttach(s *Sandbox, resource string, body map[string]any) (Response, error) {
	return d.try(s, resource, "attach", body)
}

// TryDetach is to Detach what TryAttach is to Attach.
func (d *Daemon) TryDetach(s *Sandbox, resource string, body map[string]any) (Response, error) {
	return d.try(s, resource, "detach", body)
}

// HangUpAttach is TryAttach for a caller who hangs up after a while. That they did before
// there was an answer is an error.
func (d *Daemon) HangUpAttach(s *Sandbox, resource string, body map[string]any, after time.Duration) (Response, error) {
	request, err := postRequest(resource, "attach", body)
	if err != nil {
		return Response{}, err
	}
	request.HangUp = after
	return d.tryRequest(s, request)
}

func (d *Daemon) try(s *Sandbox, resource, operation string, body map[string]any) (Response, error) {
	request, err := postRequest(resource, operation, body)
	if err != nil {
		return Response{}, err
	}
	return d.tryRequest(s, request)
}

func (d *Daemon) tryRequest(s *Sandbox, request Request) (Response, error) {
	r, err := s.TryHTTP(d.Socket, request)
	if err != nil {
		return Response{}, fmt.Errorf("%s: no answer: %w", request.Path, err)
	}
	return r, nil
}

func (d *Daemon) post(s *Sandbox, resource, operation string, body map[string]any) (int, []byte) {
	d.t.Helper()
	request, err := postRequest(resource, operation, body)
	must(d.t, err)
	r := s.HTTP(d.Socket, request)
	return r.Status, r.Body
}

func postRequest(resource, operation string, body map[string]any) (Request, error) {
	data, err := json.Marshal(body)
	return Request{
		Method: http.MethodPost, Path: "/v1/networks/" + resource + "/" + operation,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: data,
	}, err
}

// AttachAll attaches containers: one after another those of the same sandbox, and
// all sandboxes at the same time. The answers are in the order of the containers,
// and may be refusals.
func (d *Daemon) AttachAll(resource string, all []*Container) []Response {
	d.t.Helper()
	return d.postAll(resource, "attach", all, func(c *Container) map[string]any { return c.AttachBody() })
}

// DetachAll is to Detach what AttachAll is to Attach.
func (d *Daemon) DetachAll(resource string, all []*Container) []Response {
	d.t.Helper()
	return d.postAll(resource, "detach", all, func(c *Container) map[string]any { return c.DetachBody() })
}

func (d *Daemon) postAll(resource, operation string, all []*Container, body func(*Container) map[string]any) []Response {
	d.t.Helper()
	replies := make([]reply, len(all))
	inParallel(all, func(i int, c *Container) {
		// No method that fails the test: this is not its goroutine.
		request, err := postRequest(resource, operation, body(c))
		if err != nil {
			replies[i].Err = err.Error()
			return
		}
		replies[i] = c.Sandbox.call(message{Args: []string{d.Socket}, Request: &request})
	})
	responses := make([]Response, len(all))
	for i, r := range replies {
		if r.Err != "" || r.Response == nil {
			d.t.Fatalf("testlab: %s of %s: %s", operation, all[i].ID, r.Err)
		}
		responses[i] = *r.Response
	}
	return responses
}

// inParallel runs fn for all containers, those of one sandbox in their order, and
// returns when that is done.
func inParallel(all []*Container, fn func(i int, c *Container)) {
	of := map[*Sandbox][]int{}
	for i, c := range all {
		of[c.Sandbox] = append(of[c.Sandbox], i)
	}
	var running sync.WaitGroup
	for _, indices := range of {
		running.Go(func() {
			for _, i := range indices {
				fn(i, all[i])
			}
		})
	}
	running.Wait()
}
