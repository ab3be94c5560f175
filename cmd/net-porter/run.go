package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/scrape"
	"github.com/net-porter/net-porter/internal/version"
)

// run serves until ctx ends. What attachments in flight need, the lease service,
// ends after the last of them.
func (d *daemon) run(ctx context.Context) error {
	socket, err := d.listen(ctx)
	if err != nil {
		return err
	}
	defer socket.remove()
	listening := d.leases.Listen()
	if listening != nil && !errors.Is(listening, unix.EROFS) {
		return listening
	}
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopInner()
	group, inner := errgroup.WithContext(inner)
	outer, stopOuter := context.WithCancel(ctx)
	defer stopOuter()
	// A part that fails ends the others, and with them the daemon.
	stop := context.AfterFunc(inner, stopOuter)
	defer stop()

	// Removals that are under way when all else ends still give leases back.
	leasing, stopLeasing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLeasing()
	group.Go(func() error { return d.serveLeases(leasing, listening) })
	if d.config.Metrics.Listen != "" {
		l, err := net.Listen("tcp", d.config.Metrics.Listen)
		if err != nil {
			return fmt.Errorf("cannot serve metrics on %s (metrics.listen): %w", d.config.Metrics.Listen, err)
		}
		group.Go(func() error { return d.serveMetrics(inner, l) })
	}
	if err := d.attachments.Enforce(d.server.EnforcedParents(), d.server.Enforces); err != nil {
		return err
	}
	if d.enforcer != nil {
		group.Go(func() error { return d.enforcer.Run(inner) })
	}
	group.Go(func() error { return d.leases.Keep(inner, d.attachments) })
	group.Go(func() error { d.server.Monitor(inner); return nil })
	group.Go(func() error {
		defer stopLeasing()
		return d.attachments.Run(inner)
	})
	group.Go(func() error {
		defer stopInner()
		defer stopOuter()
		// An attach takes no longer than its plugins may, and then its undo.
		return d.server.Serve(outer, socket.UnixListener, func() time.Duration { return 2 * d.current().CNI.Timeout })
	})
	d.log.Info("net-porter is ready", audit.Start.Attr(), "configuration", d.server.Number(), "version", version.String(), "socket", socket.name, "resources", len(d.config.Resources))
	d.supervisor.ready(d.status())
	group.Go(func() error { d.server.Revoke(outer); return nil })
	group.Go(func() error { d.reloads(outer, socket); return nil })
	group.Go(func() error { d.watchFiles(outer); return nil })
	group.Go(func() error { d.selfChecks(outer, socket); return nil })
	group.Go(func() error {
		<-outer.Done()
		d.supervisor.stopping()
		return nil
	})
	return group.Wait()
}

// listenEvery is how often a socket is tried again for which the disk has to be written.
const listenEvery = 5 * time.Second

// serveLeases serves the DHCP plugin until ctx ends. err is why that cannot be yet: on a
// disk that has become read-only no socket can be made. The leases of containers that
// run are kept all the same, which is why the daemon starts.
func (d *daemon) serveLeases(ctx context.Context, err error) error {
	if err != nil {
		d.log.Error("the state folder cannot be written: what runs is kept, and nothing can be attached until it can", "error", err)
	}
	for err != nil {
		select {
		case <-ctx.Done():
			return d.leases.Close()
		case <-time.After(listenEvery):
		}
		err = d.leases.Listen()
	}
	return d.leases.Serve(ctx)
}

// serveMetrics serves /metrics, and nothing else, on TCP.
func (d *daemon) serveMetrics(ctx context.Context, l net.Listener) error {
	o := scrape.Options{Metrics: d.metrics.Handler(), WebConfigFile: d.config.Metrics.WebConfigFile, Logger: d.log}
	if err := scrape.Serve(ctx, l, o); err != nil {
		return fmt.Errorf("cannot serve metrics on %s: %w", d.config.Metrics.Listen, err)
	}
	return nil
}
