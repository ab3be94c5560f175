package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/enforce"
	"github.com/net-porter/net-porter/internal/filewatch"
	"github.com/net-porter/net-porter/internal/server"
)

// inForce is the configuration that the daemon works by.
type inForce struct {
	config *config.Config
	// failure is of the last reload. If refused, that has changed nothing; if not, config is
	// of that reload, and only what the failure tells of is as it was before.
	failure error
	refused bool
}

// current is the configuration in force. Of what only a start can change, it has what
// the file says, and d.config what the daemon does.
func (d *daemon) current() *config.Config { return d.inForce.Load().config }

// reloads reads the configuration again at each SIGHUP, and when its files have changed,
// until ctx ends, and then lets the revocations that have begun finish.
func (d *daemon) reloads(ctx context.Context, s *socket) {
	var revocations sync.WaitGroup
	defer revocations.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.hangups:
		case <-d.changes:
		}
		d.supervisor.reloading()
		before := d.server.Number()
		err := d.reload(ctx, s)
		if ctx.Err() != nil {
			return
		}
		d.metrics.Reload(time.Now(), err)
		if err != nil {
			refused := d.server.Number() == before
			if refused { // else reload has seen to it
				d.inForce.Store(&inForce{config: d.current(), failure: err, refused: true})
			}
			d.logReloadFailure(err, refused)
		}
		if now := d.server.Number(); now != before { // also where some conflists are wrong
			d.log.Info("the configuration was read again and is in force", audit.Reload.Attr(), "configuration", now, "file", d.path, "resources", len(d.current().Resources))
		}
		d.supervisor.ready(d.status())
		// Beside this, and after systemctl reload has its answer: what was taken away is denied
		// by now, and how long it takes to detach it is also up to whom it was taken from, who
		// must not keep the next configuration from being in force.
		revocations.Go(func() { d.server.Revoke(ctx) })
	}
}

// reload puts what the files say in force, or nothing of it; a resource's conflist that
// cannot be used leaves the one before in force. Requests that have begun go on by what
// was in force before.
func (d *daemon) reload(ctx context.Context, s *socket) error {
	if d.files != nil {
		d.files.Seen()
	}
	c, err := config.Load(d.path)
	if err != nil {
		return err
	}
	if err := checkEnforceable(c); err != nil {
		return err
	}
	// Names take as long as LDAP does. Nothing has changed yet.
	configuration := d.configuration(ctx, c)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := d.runner.Change(configuration.CNI); err != nil {
		return err
	}
	d.attachments.SetTimeout(c.CNI.Timeout)
	faults := d.server.Configure(configuration)
	if err := d.attachments.Enforce(d.server.EnforcedParents(), d.server.Enforces); err != nil {
		faults = errors.Join(faults, err)
	}
	d.level.Set(c.Log.Level)
	d.inForce.Store(&inForce{config: c, failure: faults})
	for _, key := range needStart(d.config, c, s.passed) {
		d.log.Warn("a key of the configuration was changed that only a restart of the daemon puts in force: systemctl restart net-porter", "key", key)
	}
	return faults
}

// configuration is what requests are answered by.
func (d *daemon) configuration(ctx context.Context, c *config.Config) server.Configuration {
	return server.Configuration{
		Resources: server.Resolve(ctx, c.Resources, d.names, d.log), Settings: server.SettingsOf(c.Resources),
		MostPerUser: c.MaxAttachmentsPerUser, Limits: c.Limits,
		ConfigDir: c.CNI.ConfigDir,
		CNI:       cni.Settings{PluginDirs: c.CNI.PluginDirs, Timeout: c.CNI.Timeout, DumpEnv: c.Log.DumpEnv},
	}
}

// checkEnforceable refuses "enforce" where this kernel cannot do it.
func checkEnforceable(c *config.Config) error {
	if slices.ContainsFunc(c.Resources, func(r config.Resource) bool { return r.Enforce }) {
		return enforce.Supported()
	}
	return nil
}

// needStart names the keys in which two configurations differ that are read at the
// start alone. systemd's socket is as its own unit says.
func needStart(old, c *config.Config, passed bool) []string {
	var keys []string
	differ := func(key string, old, now any) {
		if old != now {
			keys = append(keys, key)
		}
	}
	if !passed {
		differ("domain_socket.path", old.Socket.Path, c.Socket.Path)
		differ("domain_socket.user", old.Socket.User, c.Socket.User)
		differ("domain_socket.group", old.Socket.Group, c.Socket.Group)
		differ("domain_socket.mode", old.Socket.Mode, c.Socket.Mode)
	}
	differ("metrics.listen", old.Metrics.Listen, c.Metrics.Listen)
	differ("metrics.web_config_file", old.Metrics.WebConfigFile, c.Metrics.WebConfigFile)
	differ("state_dir", old.StateDir, c.StateDir)
	differ("log.format", old.Log.Format, c.Log.Format)
	return keys
}

// logReloadFailure logs each fault by itself. refused: nothing is in force of what was read.
func (d *daemon) logReloadFailure(err error, refused bool) {
	for _, fault := range config.Flat(err) {
		log, message := d.log.With("file", d.path), "a part of the configuration could not be put in force and is as it was before; all else of it is in force"
		if refused {
			message = "the configuration was not reloaded, and the one before stays in force"
		}
		if at, ok := errors.AsType[*config.Error](fault); ok {
			log = d.log.With("file", at.File, "line", at.Line, "column", at.Column)
		}
		if at, ok := errors.AsType[*cni.ConfigError](fault); ok {
			log = d.log.With("file", at.File, "line", at.Line, "column", at.Column)
			message = "a resource's network configuration was not reloaded, and the one before stays in force, if there is any; all else of the configuration is in force"
		}
		log.Error(message, audit.ReloadFailed.Attr(), "configuration", d.server.Number(), "error", fault)
	}
}

// folders are where a change is to be found in force soon after it was made.
func (d *daemon) folders() []filewatch.Folder {
	isJSON := func(name string) bool { return strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, ".") }
	isConflist := func(name string) bool {
		return slices.Contains([]string{".json", ".conflist", ".conf"}, filepath.Ext(name)) && !strings.HasPrefix(name, ".")
	}
	return []filewatch.Folder{
		{Path: filepath.Dir(d.path), Matches: func(name string) bool { return name == filepath.Base(d.path) }},
		{Path: config.DropInDir(d.path), Matches: isJSON},
		{Path: d.current().CNI.ConfigDir, Matches: isConflist},
	}
}

// watchFiles has the configuration read again whenever its files have changed, until ctx
// ends.
func (d *daemon) watchFiles(ctx context.Context) {
	if d.files == nil {
		return
	}
	d.files.Run(ctx, func() {
		select {
		case d.changes <- struct{}{}:
		default: // one is to come that sees this change, too
		}
	})
}

// beginWatching has no change of the files missed from here on.
func (d *daemon) beginWatching() {
	var err error
	if d.files, err = filewatch.New(d.folders, d.log); err != nil {
		d.log.Warn("changes of the configuration's files are not noticed: use systemctl reload net-porter", "error", err)
	}
}
