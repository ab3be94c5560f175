package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/net-porter/net-porter/internal/peer"
)

const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 60 * time.Second
	maxHeader     = 16 << 10
)

// Serve answers requests on listener until ctx ends, then lets the requests that
// are under way finish, for at most drain, and returns nil. It closes the listener.
func (s *Server) Serve(ctx context.Context, listener *net.UnixListener, drain time.Duration) error {
	peers := peer.NewListener(listener, peer.MaxPerUser(maxConnections), peer.OnReject(s.rejectConnection))
	h := &http.Server{
		Handler:           s.Handler(),
		ConnContext:       peer.ConnContext,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // callers' faults
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(peers) }()
	select {
	case err := <-served:
		return fmt.Errorf("cannot go on accepting connections: %w", err)
	case <-ctx.Done():
	}
	// The context of requests is not ctx: what is under way is finished, not cut off.
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := h.Shutdown(bound); err != nil {
		s.log.Warn("requests were still under way at the end of the time to drain; they are cut off", "error", err)
		_ = h.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
