package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/enforce"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/identity"
	"github.com/net-porter/net-porter/internal/metrics"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/policy"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

var (
	alice   = testlab.User{UID: 1000, GID: 1000}
	mallory = testlab.User{UID: 1001, GID: 1001} // where alice may, she may not
	eve     = testlab.User{UID: 1002, GID: 1002} // may what alice may, and wants more
)

// daemon is the whole server in this process, on real namespaces and plugins; its
// host is the test's own namespace.
type daemon struct {
	t        *testing.T
	server   *Server
	socket   string
	state    string
	confDir  string
	contract *contract
	log      *safeBuffer
	metrics  *metrics.Metrics
	manager  *attachment.Manager
	leases   *dhcp.Service
	enforcer *enforce.Enforcer
	turns    *fair.Queue
	// configuration is what the server was made with.
	configuration Configuration
	stop          func() // ends it, and leaves what it has made
}

// defaultLimits are those of a configuration that says nothing.
func defaultLimits(t testing.TB) config.Limits {
	t.Helper()
	return must(config.Parse("", []byte(`{"resources":[]}`)))(t).Limits
}

type setup struct {
	conflists map[string]string // by resource
	users     []testlab.User    // who may use them; alice if nobody is named
	settings  map[string]Settings
	grants    map[string][]policy.Grant // by resource
	// mostPerUser is how many attachments a user may have on each resource, and mostInAll
	// on all together.
	mostPerUser, mostInAll int
	pluginDirs             []string
	limits                 config.Limits // the defaults if not given
	patience               time.Duration // of who waits for a turn; as the queue has it if not given
	timeout                time.Duration
	state                  string // the state folder; one of the test's own if not given
	// bodyTimeout is short for those who want to see it pass.
	bodyTimeout time.Duration
}

// staticConflist gives every container the same address, which does not matter to
// macvlans in namespaces of their own.
const staticConflist = `{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"macvlan","master":"infra",
	"ipam":{"type":"static","addresses":[{"address":"192.0.2.50/24","gateway":"192.0.2.1"}],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

func start(t *testing.T, s setup) *daemon {
	t.Helper()
	testlab.RequireRoot(t)
	if s.state == "" {
		s.state = t.TempDir()
	}
	d := &daemon{t: t, state: s.state, confDir: t.TempDir(), log: &safeBuffer{}, contract: loadContract(t)}
	d.socket = filepath.Join(testlab.PublicDir(t), "net-porter.sock")
	if s.pluginDirs == nil {
		s.pluginDirs = []string{testlab.CNIPlugins(t)}
	}
	if s.timeout == 0 {
		s.timeout = 20 * time.Second
	}
	if s.limits == (config.Limits{}) {
		s.limits = defaultLimits(t)
	}
	d.turns = fair.New(fair.Options{Patience: s.patience, Waited: func(wait time.Duration) { d.metrics.TurnWaited(wait) }})
	logger := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.metrics = metrics.New("test", "test", metrics.Counts{
		Attachments:    func() map[string]int { return d.manager.Counts() },
		FailedDetaches: func() map[string]int { return d.manager.FailedCounts() },
		Ready:          func() map[string]bool { return d.server.ResourcesReady() },
		Faulty:         func() map[string]int { return d.server.FaultyAttachments() },
		Leases:         func(tell metrics.TellLeases) { d.leases.Summary(tell) },
		Turns:          d.turns.Counts,
	})
	runner := must(cni.NewRunner(cni.Options{
		PluginDirs: s.pluginDirs, CacheDir: filepath.Join(d.state, "cni"), Timeout: s.timeout, Logger: logger, Turns: d.turns,
		Observe: func(plugin, command string, took time.Duration, _ error) { d.metrics.PluginRun(plugin, command, took) },
	}))(t)
	// The lease socket's path has to be short (unix(7)), unlike those of t.TempDir.
	leaseDir := must(os.MkdirTemp("", "leases-"))(t)
	t.Cleanup(func() { os.RemoveAll(leaseDir) })
	d.leases = must(dhcp.NewService(dhcp.Options{
		SocketPath: filepath.Join(leaseDir, "s"), LeaseDir: filepath.Join(d.state, "leases"), BootID: must(netns.BootID())(t),
		Logger: logger, Observer: d.metrics,
		Holds:   func(id, ifname string, also netip.Addr) { d.manager.Hold(id, ifname, also) },
		Witness: func(id, ifname string) (int, net.HardwareAddr, error) { return d.manager.Witness(id, ifname) },
	}))(t)
	journal := must(attachment.OpenJournal(filepath.Join(d.state, "attachments"), logger))(t)
	registry := must(netns.NewRegistry())(t)
	t.Cleanup(func() { registry.Close() })
	opener := must(netns.NewOpener())(t)
	guard := must(enforce.New(logger))(t)
	t.Cleanup(guard.Close)
	d.enforcer = guard
	d.manager = must(attachment.NewManager(attachment.Options{
		Journal: journal, Runner: runner, Leases: d.leases, LeaseSocket: filepath.Join(leaseDir, "s"),
		Namespaces: registry, Finder: netns.NewFinder(opener, registry), Guard: guard, Host: identity.NewHost([]byte("the tests' own host")),
		Networks: func() []*cni.Network { return d.server.Networks() },
		Explain:  Explain, Released: d.metrics.Release, Logger: logger, Turns: d.turns,
	}))(t)
	if s.users == nil {
		s.users = []testlab.User{alice}
	}
	allowed := map[uint32]string{}
	for _, u := range s.users {
		allowed[u.UID] = fmt.Sprintf("allow_users %d", u.UID)
	}
	var resources []*policy.Resource
	settings := map[string]Settings{}
	for name, conflist := range s.conflists {
		resources = append(resources, policy.NewResource(policy.Rules{Name: name, Users: allowed, Grants: s.grants[name], MostPerUser: s.mostPerUser}))
		settings[name] = Settings{DHCPTimeout: s.timeout / 2, Probe: true}
		if own, ok := s.settings[name]; ok {
			settings[name] = own
		}
		if conflist != "" {
			ok(t, os.WriteFile(filepath.Join(d.confDir, name+".json"), []byte(conflist), 0o644))
		}
	}
	d.configuration = Configuration{
		Resources: resources, MostPerUser: s.mostInAll, Settings: settings, ConfigDir: d.confDir,
		CNI: cni.Settings{PluginDirs: s.pluginDirs, Timeout: s.timeout}, Limits: s.limits,
	}
	d.server = New(Options{
		Configuration: d.configuration,
		Attachments:   d.manager, Namespaces: opener, Users: noNames{}, Turns: d.turns, Metrics: d.metrics, Version: "test", Logger: logger,
	})
	d.server.headerTimeout = time.Hour // who stalls does so for as long as the test takes
	if s.bodyTimeout != 0 {
		d.server.bodyTimeout = s.bodyTimeout
	}
	ok(t, d.manager.Enforce(d.server.EnforcedParents(), d.server.Enforces))
	d.serve()
	return d
}

// serve runs the lease service and the API until the test ends.
func (d *daemon) serve() {
	d.t.Helper()
	ok(d.t, d.leases.Listen())
	socket := must(Listen(d.socket, 0, 0, 0o666))(d.t)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = d.leases.Serve(ctx) })
	running.Go(func() { _ = d.leases.Keep(ctx, d.manager) })
	running.Go(func() { d.server.Monitor(ctx) })
	running.Go(func() {
		if err := d.manager.Run(ctx); err != nil {
			d.t.Errorf("the manager ended: %v", err)
		}
	})
	running.Go(func() {
		if err := d.server.Serve(ctx, socket.UnixListener, func() time.Duration { return 10 * time.Second }); err != nil {
			d.t.Errorf("the server ended: %v", err)
		}
	})
	d.stop = func() {
		stop()
		running.Wait()
	}
	d.t.Cleanup(func() {
		d.stop()
		if d.t.Failed() {
			d.t.Logf("the daemon's log:\n%s", d.log)
		}
	})
}

type noNames struct{}

func (noNames) UserByID(context.Context, uint32) (nss.User, error) {
	return nss.User{}, nss.ErrNotFound
}

// post makes a request from a sandbox and checks the answer against the API's document.
func (d *daemon) post(from *testlab.Sandbox, path string, body any) testlab.Response {
	d.t.Helper()
	data, isBytes := body.([]byte)
	if !isBytes {
		data = must(json.Marshal(body))(d.t)
	}
	return d.request(from, testlab.Request{
		Method: "POST", Path: path, Body: data, Header: http.Header{"Content-Type": {"application/json"}},
	})
}

func (d *daemon) get(from *testlab.Sandbox, path string) testlab.Response {
	d.t.Helper()
	return d.request(from, testlab.Request{Method: "GET", Path: path})
}

func (d *daemon) request(from *testlab.Sandbox, r testlab.Request) testlab.Response {
	d.t.Helper()
	response := from.HTTP(d.socket, r)
	d.contract.check(d.t, r, response)
	return response
}

func (d *daemon) attach(from *testlab.Sandbox, resource string, q api.AttachRequest) (api.AttachResult, testlab.Response) {
	d.t.Helper()
	response := d.post(from, "/v1/networks/"+resource+"/attach", q)
	var result api.AttachResult
	if response.Status == http.StatusOK {
		ok(d.t, json.Unmarshal(response.Body, &result))
	}
	return result, response
}

func (d *daemon) detach(from *testlab.Sandbox, resource string, q api.DetachRequest) testlab.Response {
	d.t.Helper()
	return d.post(from, "/v1/networks/"+resource+"/detach", q)
}

// wantProblem fails the test unless the answer is a problem with the code.
func wantProblem(t *testing.T, r testlab.Response, code api.ProblemCode) api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(r.Body, &p); err != nil || p.Code != code || p.Status != r.Status {
		t.Fatalf("got %d %s, want the problem %s", r.Status, r.Body, code)
	}
	if got := r.Header.Get("Content-Type"); got != api.ProblemMediaType {
		t.Errorf("a problem's Content-Type is %q", got)
	}
	return p
}

// wantNothingLeft fails the test unless the state folder is as it was at the start.
func (d *daemon) wantNothingLeft() {
	d.t.Helper()
	err := filepath.WalkDir(d.state, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			d.t.Errorf("left behind: %s", path)
		}
		return err
	})
	ok(d.t, err)
	if left := must(os.ReadDir(filepath.Join(d.state, "cni")))(d.t); len(left) > 0 {
		d.t.Errorf("left behind in the CNI cache: %v", left)
	}
}

// container is a network namespace of the sandbox's user where podman would have it.
func container(t *testing.T, s *testlab.Sandbox, dir string) string {
	t.Helper()
	path := fmt.Sprintf("%s/netns-%d", dir, s.PID())
	for i := 0; ; i++ {
		candidate := fmt.Sprintf("%s-%d", path, i)
		if _, err := s.Try("readlink", candidate); err != nil && strings.Contains(err.Error(), "no such file") {
			s.PersistNetns(candidate)
			return candidate
		}
	}
}

// sandboxWithDir is a sandbox of a user with a folder of the user's.
func sandboxWithDir(t *testing.T, u testlab.User) (*testlab.Sandbox, string) {
	t.Helper()
	return u.Sandbox(t), u.Dir(t)
}

type safeBuffer struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.buf.Write(p)
}

// waitFor returns once text has been written.
func (b *safeBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	b.waitUntil(t, fmt.Sprintf("the log never says %q", text), func(log string) bool { return strings.Contains(log, text) })
}

// waitUntil returns once what has been written is so.
func (b *safeBuffer) waitUntil(t *testing.T, otherwise string, isSo func(log string) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		b.mu.Lock()
		if isSo(b.buf.String()) {
			b.mu.Unlock()
			return
		}
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal(otherwise)
		}
	}
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}
