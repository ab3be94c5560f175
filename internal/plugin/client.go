package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/api/apiclient"
	"github.com/net-porter/net-porter/internal/taken"
	"github.com/net-porter/net-porter/internal/version"
)

// maxResponse bounds what is read of a response, in bytes.
const maxResponse = 1 << 20

// errInterrupted says that a signal ended the command, or that nobody waits for it any more.
var errInterrupted = errors.New("interrupted; the daemon takes back what it had begun")

// client calls the daemon. Its errors are written for the person who called podman.
type client struct {
	api      *apiclient.ClientWithResponses
	socket   string
	timeout  time.Duration
	patience time.Duration
	pause    func(context.Context) error // between two attempts
	wait     func(context.Context, time.Duration) error
	now      func() time.Time
}

// client returns a client of the daemon that listens on socket, which has to take a request
// within patience. Nothing is connected yet.
func (h *handler) client(socket string, patience time.Duration) (*client, error) {
	dialer := &dialer{path: socket, ancestors: ancestors}
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.dial(ctx) },
		DisableKeepAlives:      true, // one request is all there is
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	c, err := apiclient.NewClientWithResponses("http://localhost",
		apiclient.WithHTTPClient(boundedDoer{taken.Doer{Socket: socket, Patience: patience, Client: &http.Client{
			Transport: transport,
			// The daemon never redirects; whoever else listens there is not followed.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}}),
		apiclient.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("User-Agent", "net-porter-plugin/"+version.String())
			return nil
		}))
	if err != nil {
		return nil, err
	}
	return &client{api: c, socket: socket, timeout: h.timeout, patience: patience, pause: h.pause, wait: h.wait, now: h.now}, nil
}

// attach gives the container an interface on the resource.
func (c *client) attach(ctx context.Context, resource string, body api.AttachRequest) (*api.AttachResult, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	result, lost, err := c.tryAttach(ctx, resource, body)
	var problem *problemError
	if !lost || !errors.As(err, &problem) || problem.code != api.AlreadyAttached {
		return result, err
	}
	// The answer that was lost was this interface. It is made anew, to learn of it.
	if err := c.detach(ctx, resource, api.DetachRequest{
		ContainerID: body.ContainerID, InterfaceName: body.InterfaceName, Netns: body.Netns,
	}); err != nil {
		return nil, err
	}
	result, _, err = c.tryAttach(ctx, resource, body)
	return result, err
}

// tryAttach reports besides whether the answer to an earlier attempt was lost. An
// attach can be repeated: the daemon undoes one whose caller is gone, and its
// successor one that it left half made, before it begins the next.
func (c *client) tryAttach(ctx context.Context, resource string, body api.AttachRequest) (_ *api.AttachResult, lost bool, err error) {
	var r *apiclient.AttachContainerResponse
	lost, err = c.ask(ctx, func(ctx context.Context) (_ *http.Response, err error) {
		if r, err = c.api.AttachContainerWithResponse(ctx, resource, body); err != nil {
			return nil, err
		}
		return r.HTTPResponse, nil
	})
	if err != nil {
		return nil, lost, c.failure(ctx, err)
	}
	if r.JSON200 == nil {
		return nil, lost, c.refusal(r.HTTPResponse, r.ApplicationProblemJSONDefault)
	}
	return r.JSON200, lost, nil
}

// detach takes the interface away; there being none is no error.
func (c *client) detach(ctx context.Context, resource string, body api.DetachRequest) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var r *apiclient.DetachContainerResponse
	_, err := c.ask(ctx, func(ctx context.Context) (_ *http.Response, err error) {
		if r, err = c.api.DetachContainerWithResponse(ctx, resource, body); err != nil {
			return nil, err
		}
		return r.HTTPResponse, nil
	})
	if err != nil {
		return c.failure(ctx, err)
	}
	if r.StatusCode() != http.StatusNoContent {
		return c.refusal(r.HTTPResponse, r.ApplicationProblemJSONDefault)
	}
	return nil
}

// network asks for a resource that this user may use.
func (c *client) network(ctx context.Context, resource string) (*api.Network, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var r *apiclient.GetNetworkResponse
	_, err := c.ask(ctx, func(ctx context.Context) (_ *http.Response, err error) {
		if r, err = c.api.GetNetworkWithResponse(ctx, resource); err != nil {
			return nil, err
		}
		return r.HTTPResponse, nil
	})
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	if r.JSON200 == nil {
		return nil, c.refusal(r.HTTPResponse, r.ApplicationProblemJSONDefault)
	}
	return r.JSON200, nil
}

// failure is why there was no answer.
func (c *client) failure(ctx context.Context, err error) error {
	var unreachable *unreachableError
	var untaken *taken.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return errInterrupted
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("the daemon at %s did not answer within %s; see `journalctl -u net-porter`", c.socket, inWords(c.timeout))
	case errors.As(err, &untaken):
		return untaken
	case errors.Is(err, errNoAnswer):
		return fmt.Errorf("the daemon at %s closed the connection without an answer, more than once; see `journalctl -u net-porter`, and try again", c.socket)
	case errors.As(err, &unreachable):
		return unreachable
	default:
		var request *url.Error
		if errors.As(err, &request) { // spares the user the method and the URL
			err = request.Err
		}
		return fmt.Errorf("the daemon at %s gave no answer that can be used (%s); try again, and see `journalctl -u net-porter` if it stays so", c.socket, plain(err.Error()))
	}
}

// inWords is a time without the zeros that [time.Duration.String] gives whole minutes.
func inWords(d time.Duration) string {
	if d >= 2*time.Minute && d%time.Minute == 0 {
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return d.String()
}

// refusal is the problem that the daemon answered.
func (c *client) refusal(r *http.Response, p *api.Problem) error {
	if p == nil || p.Code == "" || p.Detail == "" {
		return fmt.Errorf("what listens on %s does not answer like net-porter (HTTP %s); is it the daemon's socket?", c.socket, plain(r.Status))
	}
	return &problemError{code: p.Code, detail: plain(p.Detail)}
}

// problemError is a problem (RFC 9457) that the daemon answered. The detail is
// written for users.
type problemError struct {
	code   api.ProblemCode
	detail string
}

func (e *problemError) Error() string { return e.detail }

// boundedDoer bounds what is read of a response's body.
type boundedDoer struct{ taken.Doer }

func (d boundedDoer) Do(r *http.Request) (*http.Response, error) {
	resp, err := d.Doer.Do(r)
	if err == nil {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxResponse}
	}
	return resp, err
}

// boundedBody is like io.LimitReader, but says so where it cuts.
type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxResponse)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
