// Package scrape serves metrics on TCP, where nobody knows who connects, within bounds
// that leave the daemon its descriptors.
package scrape

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
)

const (
	// maxConnections is what may be open at a time. Each server that scrapes has one or two.
	maxConnections = 64
	// maxStreams is how many requests one connection of HTTP/2 may have under way.
	maxStreams = 4
	maxHeader  = 16 << 10
)

// Timeouts bound how long a connection is kept for who does not go on.
type Timeouts struct {
	Header time.Duration // to send a request's head
	Read   time.Duration // to send all of it
	Write  time.Duration // to take the answer, from the request's head on
	Idle   time.Duration // to ask again
}

// defaultTimeouts keep the connection of who scrapes each minute, which is Prometheus'
// default.
func defaultTimeouts() Timeouts {
	return Timeouts{Header: 5 * time.Second, Read: 10 * time.Second, Write: 10 * time.Second, Idle: 75 * time.Second}
}

// Options say what is served, and how.
type Options struct {
	Metrics http.Handler
	// WebConfigFile is exporter-toolkit's: TLS and passwords. It may be empty.
	WebConfigFile string
	Logger        *slog.Logger
	// Timeouts are the defaults if not given.
	Timeouts Timeouts
}

// Serve answers GET /metrics on l, and nothing else, until ctx ends, and then returns nil.
// It closes l.
func Serve(ctx context.Context, l net.Listener, o Options) error {
	if o.Timeouts == (Timeouts{}) {
		o.Timeouts = defaultTimeouts()
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", o.Metrics)
	s := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: o.Timeouts.Header,
		ReadTimeout:       o.Timeouts.Read,
		WriteTimeout:      o.Timeouts.Write,
		IdleTimeout:       o.Timeouts.Idle,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug), // callers' faults
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	err := web.Serve(newListener(l, maxConnections, crowded(o.Logger)), s, &web.FlagConfig{WebConfigFile: &o.WebConfigFile}, o.Logger)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// tellEvery is how often it is told that connections are refused. Who floods us writes
// the log no fuller than that.
const tellEvery = time.Minute

// crowded returns what tells of a refused connection. It is called by one goroutine.
func crowded(log *slog.Logger) func() {
	var told time.Time
	refused := 0
	return func() {
		refused++
		if now := time.Now(); told.IsZero() || now.Sub(told) >= tellEvery {
			log.Warn("as many connections to metrics.listen are open as may be: others are closed at once, and a scrape may be one of them; "+
				"see who has them with `ss -tp`, and let nobody connect but who scrapes", "open", maxConnections, "refused", refused)
			told, refused = now, 0
		}
	}
}
