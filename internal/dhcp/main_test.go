package dhcp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Tests that run in parallel here wait for leases, not for a processor.
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	testlab.Main(m)
}

const (
	testID     = "1000.4f2a8b"
	testIfname = "eth0"
)

// seedIPAM is the "ipam" of the project's documented configuration.
const seedIPAM = `"request":[{"skipDefault":true,"option":"subnet-mask"}],"provide":[{"option":"host-name","fromArg":"K8S_POD_NAME"}]`

// harness is a running service with directories that outlive it.
type harness struct {
	*Service
	t    *testing.T
	opts Options
	log  *lockedBuffer
	obs  *recorder
	// parent is the LAN's; "" is testlab.LANParent.
	parent string
}

func newHarness(t *testing.T, change ...func(*Options)) *harness {
	t.Helper()
	// Not t.TempDir: a socket's path is short, a test's name is not.
	dir, err := os.MkdirTemp("", "dhcp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &harness{t: t, log: &lockedBuffer{}, obs: newRecorder()}
	h.opts = Options{
		SocketPath: filepath.Join(dir, "s"), LeaseDir: filepath.Join(dir, "leases"), BootID: "this boot", Observer: h.obs,
		Logger: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&h.opts)
	}
	h.start()
	return h
}

func (h *harness) start() {
	h.t.Helper()
	s, err := NewService(h.opts)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			h.t.Errorf("Serve: %v", err)
		}
	})
	h.Service = s
}

// held is the test's one lease, which has to be there.
func (h *harness) held() Lease {
	h.t.Helper()
	leases := h.Leases(testID, testIfname)
	if len(leases) != 1 {
		h.t.Fatalf("%d leases are held, want one\n%s", len(leases), h.log)
	}
	return leases[0]
}

func (h *harness) wantNoLease() {
	h.t.Helper()
	if leases := h.Leases(testID, testIfname); len(leases) > 0 {
		h.t.Errorf("still held: %+v", leases)
	}
}

func (h *harness) restart() {
	h.t.Helper()
	if err := h.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.start()
}

func (h *harness) expect(a Attachment) *Expectation {
	h.t.Helper()
	if a.ID == "" {
		a.ID = testID
	}
	if a.Interface == "" {
		a.Interface = testIfname
	}
	e, err := h.Expect(a)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(e.Done)
	return e
}

// plugin runs CNI's own dhcp plugin against the service. With typ "macvlan" it is that
// plugin, which calls the dhcp plugin itself.
func (h *harness) plugin(typ, command, id, netns, ipam string) *exec.Cmd {
	h.t.Helper()
	bin := pluginDir(h.t)
	cmd := exec.Command(filepath.Join(bin, typ))
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "CNI_COMMAND=" + command, "CNI_CONTAINERID=" + id, "CNI_NETNS=" + netns,
		"CNI_IFNAME=" + testIfname, "CNI_PATH=" + bin, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web_1",
	}
	if ipam != "" {
		ipam = "," + ipam
	}
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"cniVersion":"1.0.0","name":"lan","type":%q,"master":%q,`+
		`"ipam":{"type":"dhcp","daemonSocketPath":%q%s}}`, typ, cmp.Or(h.parent, testlab.LANParent), h.opts.SocketPath, ipam))
	return cmd
}

// add runs ADD of the dhcp plugin for an expected attachment and returns its result.
func (h *harness) add(id string, ns *testlab.Netns, ipam string) *current.Result {
	h.t.Helper()
	return h.result(h.plugin("dhcp", "ADD", id, ns.Path(), ipam))
}

func (h *harness) result(cmd *exec.Cmd) *current.Result {
	h.t.Helper()
	out, err := output(cmd)
	if err != nil {
		h.t.Fatalf("plugin: %v\n%s", err, h.log)
	}
	r := &current.Result{}
	if err := json.Unmarshal(out, r); err != nil {
		h.t.Fatalf("result %s: %v", out, err)
	}
	return r
}

// output runs a plugin; its error has the text that a user would see.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		var e types.Error
		if json.Unmarshal(stdout.Bytes(), &e) == nil {
			err = errors.New(e.Msg)
		}
		return nil, fmt.Errorf("%w %s", err, stderr.String())
	}
	return stdout.Bytes(), nil
}

func (h *harness) del(id, netns string) {
	h.t.Helper()
	if _, err := output(h.plugin("dhcp", "DEL", id, netns, "")); err != nil {
		h.t.Fatalf("DEL: %v\n%s", err, h.log)
	}
}

// pluginDir has the dhcp and macvlan plugins: those of "make cni", or built now.
var pluginDir = func() func(testing.TB) string {
	build := sync.OnceValues(func() (string, error) {
		made, err := filepath.Abs("../../bin/cni")
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(filepath.Join(made, "dhcp")); err == nil {
			return made, nil
		}
		cache, err := os.UserCacheDir() // not /tmp, where anybody could put a plugin
		if err != nil {
			return "", err
		}
		dir := filepath.Join(cache, "net-porter-test-cni")
		out, err := exec.Command("go", "build", "-C", "../tools/cniplugins", "-o", dir+"/",
			"github.com/containernetworking/plugins/plugins/ipam/dhcp",
			"github.com/containernetworking/plugins/plugins/main/macvlan").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("cannot build CNI plugins (run make cni): %w: %s", err, out)
		}
		return dir, nil
	})
	return func(t testing.TB) string {
		t.Helper()
		dir, err := build()
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
}()

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// recorder is an Observer that hands exchanges on to the test.
type recorder struct {
	exchanges chan string // "<kind> <outcome>"
	mu        sync.Mutex
	bad       int
	moves     int
	during    func(kind, outcome string)
}

func newRecorder() *recorder { return &recorder{exchanges: make(chan string, 1000)} }

func (r *recorder) ObserveExchange(ipVersion int, kind, outcome string, _ time.Duration) {
	if r.during != nil {
		r.during(kind, outcome)
	}
	if ipVersion == 6 {
		kind += "6"
	}
	r.exchanges <- kind + " " + outcome
}

func (r *recorder) CountAddressChange() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moves++
}

func (r *recorder) addressChanges() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moves
}

func (r *recorder) CountBadFrame() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad++
}

func (r *recorder) badFrames() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bad
}
