package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/net-porter/net-porter/internal/peer"
)

const (
	defaultHeaderTimeout = 5 * time.Second
	idleTimeout          = 60 * time.Second
	maxHeader            = 16 << 10
	// closeGrace is what connections get to take their last answer when all work is done.
	closeGrace = time.Second
)

// Serve answers requests on listener until ctx ends, then lets the attaches and
// detaches that are under way finish, for at most what drain says then, and returns nil. Whoever
// else has a connection then, idle or in the middle of a request, is hung up on. It
// closes the listener. It is to be called once.
func (s *Server) Serve(ctx context.Context, listener *net.UnixListener, drain func() time.Duration) error {
	peers := s.listen(listener)
	h := &http.Server{
		Handler:           s.Handler(),
		ConnContext:       peer.ConnContext,
		ReadHeaderTimeout: s.headerTimeout,
		// Also for a body that nobody asks for: net/http wants to have it before it
		// replies. The wait for an attach is not reading; see decodeBody.
		ReadTimeout:                  s.bodyTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,                                                // "OPTIONS *" is checked like any other
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // callers' faults
	}
	telling, told := context.WithCancel(context.WithoutCancel(ctx))
	var tells sync.WaitGroup
	tells.Go(func() { s.tellUnlogged(telling) })
	defer tells.Wait()
	defer told()
	served := make(chan error, 1)
	go func() { served <- h.Serve(peers) }()
	select {
	case err := <-served:
		return fmt.Errorf("cannot go on accepting connections: %w", err)
	case <-ctx.Done():
	}
	// What waits for its turn has not begun, and will find the next daemon.
	s.turns.Close()
	// The context of requests is not ctx: what is under way is finished, not cut off.
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain())
	defer cancel()
	shut := make(chan struct{})
	go func() {
		defer close(shut)
		_ = h.Shutdown(bound) // the listener and idle connections at once
	}()
	if err := s.work.finish(bound); err != nil {
		s.log.Warn("attaches or detaches were still under way at the end of the time to drain; they are cut off", "error", err)
	}
	grace := time.AfterFunc(closeGrace, cancel)
	defer grace.Stop()
	<-shut
	_ = h.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
