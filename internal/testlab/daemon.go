package testlab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Daemon is the program itself, `net-porter server`, in the host namespace of the
// tests, with its state on disk. Methods fail the test when the daemon does not do
// as it should. The sandbox that contrib/systemd gives it is not there.
type Daemon struct {
	// Socket is the path of the API's socket, which every user may connect to.
	Socket string
	// StateDir outlives restarts. It is in a folder of root's that is the daemon's own.
	StateDir string
	// ConfigDir has the conflists.
	ConfigDir string
	// PluginDirs are where the daemon looks for CNI plugins.
	PluginDirs []string

	t       testing.TB
	program string
	dir     string // for everybody to see
	config  map[string]any
	faults  string // the folder of package faultpoint, or ""
	log     *logBuffer
	mark    int // where the log of the last start begins
	child   *child
}

// Resource is a network that a Daemon offers.
type Resource struct {
	Name string
	// Plugins is the "plugins" of its conflist: JSON objects with commas between them.
	// When it is empty there is no conflist.
	Plugins string
	// Users may use it.
	Users []User
	// Keys are more keys of the resource in config.json.
	Keys map[string]any
}

// DaemonOption changes what NewDaemon prepares.
type DaemonOption func(*Daemon)

// WithResources adds resources.
func WithResources(resources ...Resource) DaemonOption {
	return func(d *Daemon) {
		for _, r := range resources {
			d.addResource(r)
		}
	}
}

// WithPluginDirs adds folders with CNI plugins to that of CNIPlugins.
func WithPluginDirs(dirs ...string) DaemonOption {
	return func(d *Daemon) { d.PluginDirs = append(d.PluginDirs, dirs...) }
}

// WithProgram takes a program that is built already, and not one that is built from
// the sources for these tests.
func WithProgram(path string) DaemonOption { return func(d *Daemon) { d.program = path } }

// NewDaemon prepares a daemon, which is not running. What it leaves is removed after
// the test, which fails when the daemon ends in any other way than it is told to, or when
// it is built with the race detector and that has something to report.
func NewDaemon(t testing.TB, opts ...DaemonOption) *Daemon {
	t.Helper()
	RequireRoot(t)
	// On disk, which /tmp may not be. Not t.TempDir: the state has a socket, whose
	// path must be short (unix(7)).
	state, err := os.MkdirTemp("/var/tmp", "net-porter-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(state) })
	d := &Daemon{t: t, dir: PublicDir(t), StateDir: filepath.Join(state, "net-porter"), log: newLogBuffer()}
	d.Socket, d.ConfigDir = filepath.Join(d.dir, "net-porter.sock"), filepath.Join(d.dir, "cni.d")
	d.PluginDirs = []string{CNIPlugins(t)}
	must(t, os.Mkdir(d.ConfigDir, 0o755))
	d.config = map[string]any{
		"domain_socket": map[string]any{"path": d.Socket, "user": "root", "group": "root", "mode": "0666"},
		"state_dir":     d.StateDir,
		"resources":     []any{},
	}
	for _, opt := range opts {
		opt(d)
	}
	if d.program == "" {
		d.program = netPorter(t)
	}
	d.config["cni"] = map[string]any{"config_dir": d.ConfigDir, "plugin_dirs": d.PluginDirs}
	d.Configure(func(map[string]any) {})
	t.Cleanup(func() {
		d.Stop()
		d.noRaces()
		if t.Failed() && d.Log() != "" {
			t.Logf("the daemon's log ends with:\n%s", d.log.tail())
		}
	})
	return d
}

func (d *Daemon) addResource(r Resource) {
	users := []any{}
	for _, u := range r.Users {
		users = append(users, u.UID)
	}
	resource := map[string]any{"name": r.Name, "allow_users": users}
	for key, value := range r.Keys {
		resource[key] = value
	}
	d.config["resources"] = append(d.config["resources"].([]any), resource)
	if r.Plugins != "" {
		d.Conflist(r.Name, fmt.Sprintf(`{"cniVersion":"1.0.0","name":%q,"plugins":[%s]}`, r.Name, r.Plugins))
	}
}

// Conflist writes the conflist of a resource.
func (d *Daemon) Conflist(resource, text string) {
	d.t.Helper()
	must(d.t, os.WriteFile(filepath.Join(d.ConfigDir, resource+".conflist"), []byte(text), 0o644))
}

// Configure changes config.json, which the next start reads. What edit gets is the
// file as encoding/json knows it: objects are map[string]any, lists []any.
func (d *Daemon) Configure(edit func(config map[string]any)) {
	d.t.Helper()
	// There and back, so that edit finds no types of this package.
	data, err := json.Marshal(d.config)
	must(d.t, err)
	config := map[string]any{}
	must(d.t, json.Unmarshal(data, &config))
	edit(config)
	data, err = json.MarshalIndent(config, "", "  ")
	must(d.t, err)
	must(d.t, os.WriteFile(d.configFile(), data, 0o644))
	d.config = config
}

func (d *Daemon) configFile() string { return filepath.Join(d.dir, "config.json") }

// running is the daemon's process, which must be running.
func (d *Daemon) running() *child {
	d.t.Helper()
	if d.child == nil {
		d.t.Fatal("testlab: the daemon is not running")
	}
	return d.child
}

// PID is the daemon's process id.
func (d *Daemon) PID() int { d.t.Helper(); return d.running().cmd.Process.Pid }

// RSS is the daemon's resident memory in MiB (VmRSS of proc_pid_status(5)).
func (d *Daemon) RSS() float64 {
	d.t.Helper()
	var kib float64
	d.status("VmRSS", "%f kB", &kib)
	return kib / 1024
}

// PeakRSS is the most resident memory that the daemon has had since its start, in MiB
// (VmHWM of proc_pid_status(5)).
func (d *Daemon) PeakRSS() float64 {
	d.t.Helper()
	var kib float64
	d.status("VmHWM", "%f kB", &kib)
	return kib / 1024
}

// Threads is how many threads the daemon has.
func (d *Daemon) Threads() int {
	d.t.Helper()
	var n int
	d.status("Threads", "%d", &n)
	return n
}

func (d *Daemon) status(name, format string, value any) {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	must(d.t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			_, err := fmt.Sscanf(strings.TrimSpace(rest), format, value)
			must(d.t, err)
			return
		}
	}
	d.t.Fatalf("testlab: no %s in the status of process %d", name, d.PID())
}

// FDs are what the daemon's descriptors are open on, in order, as readlink(2) of
// /proc/<pid>/fd says: paths, "socket:[<inode>]", "net:[<inode>]".
func (d *Daemon) FDs() []string {
	d.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", d.PID())
	entries, err := os.ReadDir(dir)
	must(d.t, err)
	var open []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if os.IsNotExist(err) {
			continue // closed meanwhile
		}
		must(d.t, err)
		open = append(open, target)
	}
	slices.Sort(open)
	return open
}
