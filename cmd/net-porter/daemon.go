package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/identity"
	"github.com/net-porter/net-porter/internal/metrics"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/server"
	"github.com/net-porter/net-porter/internal/version"
)

// daemon is the parts of the server, wired together.
type daemon struct {
	config      *config.Config
	log         *slog.Logger
	lock        *os.File
	metrics     *metrics.Metrics
	leases      *dhcp.Service
	registry    *netns.Registry
	attachments *attachment.Manager
	server      *server.Server
	users       *nss.Resolver
}

func newDaemon(ctx context.Context, c *config.Config, log *slog.Logger) (*daemon, error) {
	// CNI plugins inherit it, and write files of theirs that others should read but not change.
	unix.Umask(0o022)
	d := &daemon{config: c, log: log, users: nss.New()}
	if err := d.lockState(); err != nil {
		return nil, err
	}
	d.metrics = metrics.New(version.String(), version.Commit(), metrics.Counts{
		Attachments: func() map[string]int { return d.attachments.Counts() },
		Leases:      func() (map[string]int, time.Duration, bool) { return d.leases.Summary() },
	})
	runner, err := cni.NewRunner(cni.Options{
		PluginDirs: c.CNI.PluginDirs, CacheDir: filepath.Join(c.StateDir, "cni"), Timeout: c.CNI.Timeout,
		DumpEnv: c.Log.DumpEnv, Logger: log,
		Observe: func(plugin, command string, took time.Duration, _ error) { d.metrics.PluginRun(plugin, command, took) },
	})
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(c.StateDir, "dhcp.sock")
	boot, err := netns.BootID()
	if err != nil {
		return nil, err
	}
	d.leases, err = dhcp.NewService(dhcp.Options{
		SocketPath: socket, LeaseDir: filepath.Join(c.StateDir, "leases"), BootID: boot, Logger: log, Observer: d.metrics,
	})
	if err != nil {
		return nil, err
	}
	journal, err := attachment.OpenJournal(filepath.Join(c.StateDir, "attachments"), log)
	if err != nil {
		return nil, err
	}
	if d.registry, err = netns.NewRegistry(); err != nil {
		return nil, err
	}
	namespaces, err := netns.NewOpener()
	if err != nil {
		return nil, err
	}
	host, err := identity.ReadHost(c.StateDir)
	if err != nil {
		return nil, err
	}
	d.attachments, err = attachment.NewManager(attachment.Options{
		Journal: journal, Runner: runner, Leases: d.leases, LeaseSocket: socket, Namespaces: d.registry,
		Finder: netns.NewFinder(namespaces, d.registry), Host: host, Timeout: c.CNI.Timeout, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	d.server = server.New(server.Options{
		Resources: server.Resolve(ctx, c.Resources, d.users, log), Settings: server.SettingsOf(c.Resources),
		ConfigDir: c.CNI.ConfigDir, PluginDirs: c.CNI.PluginDirs,
		Attachments: d.attachments, Namespaces: namespaces, Users: d.users,
		Metrics: d.metrics, Version: version.String(), Logger: log,
	})
	return d, nil
}

// lockState takes the state folder for this process alone: two daemons with one
// journal would each undo what the other does.
func (d *daemon) lockState() error {
	dir := d.config.StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the state folder: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("cannot examine the state folder %s: %w", dir, err)
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		return fmt.Errorf("the state folder %s must belong to root and be writable by root alone: chown root %[1]s; chmod 0700 %[1]s", dir)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot lock the state folder: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("another net-porter server uses the state folder %s: stop it first (systemctl stop net-porter), or give this one a state_dir of its own", dir)
		}
		return fmt.Errorf("cannot lock the state folder: %w", err)
	}
	d.lock = lock
	return nil
}

func (d *daemon) close() {
	if d.registry != nil {
		_ = d.registry.Close()
	}
	if d.lock != nil {
		_ = d.lock.Close()
	}
}

// run serves until ctx ends. What attachments in flight need, the lease service,
// ends after the last of them.
func (d *daemon) run(ctx context.Context) error {
	socket, err := d.listen(ctx)
	if err != nil {
		return err
	}
	defer socket.remove()
	if err := d.leases.Listen(); err != nil {
		return err
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
	group.Go(func() error { return d.leases.Serve(leasing) })
	if d.config.Metrics.Listen != "" {
		l, err := net.Listen("tcp", d.config.Metrics.Listen)
		if err != nil {
			return fmt.Errorf("cannot serve metrics on %s (metrics.listen): %w", d.config.Metrics.Listen, err)
		}
		group.Go(func() error { return d.serveMetrics(inner, l) })
	}
	group.Go(func() error { return d.leases.Keep(inner, d.attachments) })
	group.Go(func() error {
		defer stopLeasing()
		return d.attachments.Run(inner)
	})
	group.Go(func() error {
		defer stopInner()
		defer stopOuter()
		// An attach takes no longer than its plugins may, and then its undo.
		return d.server.Serve(outer, socket.UnixListener, 2*d.config.CNI.Timeout)
	})
	d.log.Info("net-porter is ready", "version", version.String(), "socket", socket.name, "resources", len(d.config.Resources))
	d.notify(sdnotify.SdNotifyReady)
	group.Go(func() error {
		<-outer.Done()
		d.notify(sdnotify.SdNotifyStopping)
		return nil
	})
	return group.Wait()
}

func (d *daemon) notify(state string) {
	if _, err := sdnotify.SdNotify(false, state); err != nil {
		d.log.Warn("cannot tell systemd the daemon's state", "state", state, "error", err)
	}
}

// serveMetrics serves /metrics, and nothing else, on TCP.
func (d *daemon) serveMetrics(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", d.metrics.Handler())
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	flags := &web.FlagConfig{WebConfigFile: &d.config.Metrics.WebConfigFile}
	if err := web.Serve(l, s, flags, d.log); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve metrics on %s: %w", d.config.Metrics.Listen, err)
	}
	return nil
}
