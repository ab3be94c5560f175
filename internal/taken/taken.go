// Package taken bounds how long an HTTP request may lie unread at the daemon's socket.
//
// systemd holds the socket (systemd.socket(5)). Whoever connects waits while the daemon
// is started again, and would wait for ever where it cannot be started.
package taken

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"
)

// Doer sends requests that the daemon has to take within Patience; it may then take its
// time to answer them. A request with a body asks for 100 (Continue), by which the server
// says that it has begun to read it (RFC 9110, section 10.1.1), and sends the body at once
// all the same; of any other request the answer says so.
type Doer struct {
	Client   *http.Client
	Socket   string // for the error
	Patience time.Duration
}

// Error says that nobody took a request. It is written for who made it.
type Error struct {
	Socket   string
	Patience time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("nobody took the request at %s within %v s: systemd holds the socket, but the daemon does not run; `systemctl status net-porter` and `sudo net-porter check` say why", e.Socket, e.Patience.Seconds())
}

// Do sends a request. Its error is an [*Error] where nobody took it, and the client's
// else. The body of the response must be closed.
func (d Doer) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	untaken := &Error{Socket: d.Socket, Patience: d.Patience}
	patience := time.AfterFunc(d.Patience, func() { cancel(untaken) })
	defer patience.Stop()
	r = r.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() { patience.Stop() },
	}))
	if r.Body != nil {
		r.Header.Set("Expect", "100-continue")
	}
	response, err := d.Client.Do(r)
	if err != nil {
		if context.Cause(ctx) == untaken {
			err = untaken
		}
		cancel(nil)
		return nil, err
	}
	response.Body = &body{response.Body, cancel}
	return response, nil
}

// body ends the request's context when it is closed.
type body struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *body) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
