package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/enforce"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/filewatch"
	"github.com/net-porter/net-porter/internal/identity"
	"github.com/net-porter/net-porter/internal/metrics"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/selfcheck"
	"github.com/net-porter/net-porter/internal/server"
	"github.com/net-porter/net-porter/internal/version"
)

// daemon is the parts of the server, wired together.
type daemon struct {
	begin
	inForce     atomic.Pointer[inForce]
	supervisor  supervisor
	checker     atomic.Pointer[selfcheck.Checker] // nil before it runs
	lock        *os.File
	metrics     *metrics.Metrics
	turns       *fair.Queue
	leases      *dhcp.Service
	registry    *netns.Registry
	runner      *cni.Runner
	journal     *attachment.Journal
	attachments *attachment.Manager
	enforcer    *enforce.Enforcer
	server      *server.Server
	users       *nss.Resolver
	names       *lastKnown
	files       *filewatch.Watcher // nil where files cannot be watched
	changes     chan struct{}      // of the configuration's files, since it was read
}

func newDaemon(ctx context.Context, b begin) (*daemon, error) {
	// CNI plugins inherit it, and write files of theirs that others should read but not change.
	unix.Umask(0o022)
	c, log, users := b.config, b.log, nss.New()
	d := &daemon{
		begin: b, supervisor: supervisor{log: log}, users: users, names: newLastKnown(users, log),
		changes: make(chan struct{}, 1),
	}
	d.inForce.Store(&inForce{config: c})
	d.beginWatching()
	if err := d.lockState(); err != nil {
		return nil, err
	}
	// Its limits are set with the server's.
	d.turns = fair.New(fair.Options{Waited: func(wait time.Duration) { d.metrics.TurnWaited(wait) }})
	d.metrics = metrics.New(version.String(), version.Commit(), metrics.Counts{
		Attachments:    func() map[string]int { return d.attachments.Counts() },
		FailedDetaches: func() map[string]int { return d.attachments.FailedCounts() },
		Ready:          func() map[string]bool { return d.server.ResourcesReady() },
		Faulty:         func() map[string]int { return d.server.FaultyAttachments() },
		Leases:         func(tell metrics.TellLeases) { d.leases.Summary(tell) },
		Turns:          d.turns.Counts,
		Enforcement:    func() (bool, bool, int) { return d.enforcement() },
	})
	var err error
	d.runner, err = cni.NewRunner(cni.Options{
		PluginDirs: c.CNI.PluginDirs, CacheDir: filepath.Join(c.StateDir, "cni"), Timeout: c.CNI.Timeout,
		DumpEnv: c.Log.DumpEnv, Logger: log, Turns: d.turns,
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
		Holds:   func(id, ifname string, also netip.Addr) { d.attachments.Hold(id, ifname, also) },
		Witness: func(id, ifname string) (int, net.HardwareAddr, error) { return d.attachments.Witness(id, ifname) },
	})
	if err != nil {
		return nil, err
	}
	if d.journal, err = attachment.OpenJournal(filepath.Join(c.StateDir, "attachments"), log); err != nil {
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
	if err := checkEnforceable(c); err != nil {
		return nil, err
	}
	var guard attachment.Guard // stays nil on a kernel without nftables, where nobody wants it
	if d.enforcer, err = enforce.New(log); err == nil {
		guard = d.enforcer
	} else {
		log.Debug("what containers send cannot be enforced on this host", "error", err)
	}
	d.attachments, err = attachment.NewManager(attachment.Options{
		Journal: d.journal, ReplayLog: filepath.Join(c.StateDir, "released"), Runner: d.runner, Leases: d.leases, LeaseSocket: socket, Namespaces: d.registry,
		Finder: netns.NewFinder(namespaces, d.registry), Guard: guard, Host: host, Timeout: c.CNI.Timeout, Turns: d.turns,
		Networks: func() []*cni.Network { return d.server.Networks() },
		Explain:  server.Explain, Released: d.metrics.Release, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	d.server = server.New(server.Options{
		Configuration: d.configuration(ctx, c), Attachments: d.attachments, Namespaces: namespaces, Users: d.users,
		Turns: d.turns, Metrics: d.metrics, Health: d.health, Version: version.String(), Logger: log,
	})
	d.metrics.ConfigInForce(time.Now())
	return d, nil
}

func (d *daemon) close() {
	if d.enforcer != nil {
		d.enforcer.Close()
	}
	if d.registry != nil {
		_ = d.registry.Close()
	}
	if d.lock != nil {
		_ = d.lock.Close()
	}
}
