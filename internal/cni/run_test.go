package cni_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/fair"
)

func TestPluginGetsACleanEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_DAEMON", "x")
	t.Setenv("CNI_NETNS_OVERRIDE", "1")
	t.Setenv("LD_PRELOAD", "")
	l := newLab(t)
	// Not close-on-exec, like what a daemon's parent may have left open.
	inherited, err := unix.FcntlInt(os.Stdout.Fd(), unix.F_DUPFD, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	l.plugin("fake", `tr '\0' '\n' </proc/$$/environ >$state/env; readlink /proc/$$/cwd >$state/cwd; ls /proc/$$/fd >$state/fds; cut -d' ' -f5 /proc/$$/stat >$state/group; echo $$ >$state/pid; cat >$state/stdin; echo '{"cniVersion":"1.0.0"}'`)
	inv := invocation()
	inv.Args = [][2]string{{"K8S_POD_NAME", "my pod"}, {"K8S_POD_NAMESPACE", "alice"}}
	if _, err := l.runner().Add(t.Context(), network(t, "fake"), inv); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=my pod;K8S_POD_NAMESPACE=alice",
		"CNI_COMMAND=ADD", "CNI_CONTAINERID=1000.c0ffee", "CNI_IFNAME=eth0",
		"CNI_NETNS=/proc/4242/fd/17", "CNI_PATH=" + l.plugins,
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	if got := strings.Split(strings.TrimSpace(l.read("env")), "\n"); !slices.Equal(got, want) {
		t.Errorf("environment\n%s", strings.Join(got, "\n"))
	}
	if cwd := l.read("cwd"); cwd != "/\n" {
		t.Errorf("working directory %q", cwd)
	}
	if l.read("group") != l.read("pid") {
		t.Errorf("process group %q of process %q", l.read("group"), l.read("pid"))
	}
	if fds := strings.Fields(l.read("fds")); slices.Contains(fds, strconv.Itoa(inherited)) {
		t.Errorf("inherits one of the descriptors %v", fds)
	}
	if stdin := l.read("stdin"); stdin != `{"cniVersion":"1.0.0","name":"net","type":"fake"}` {
		t.Errorf("stdin %s", stdin)
	}
}

func TestDumpShowsEnvironmentAndConfiguration(t *testing.T) {
	for _, enabled := range []bool{true, false} {
		l := newLab(t)
		l.plugin("fake", succeed)
		var out bytes.Buffer
		r := l.runner(func(o *cni.Options) {
			o.DumpEnv, o.Logger = enabled, slog.New(slog.NewJSONHandler(&out, nil))
		})
		if _, err := r.Add(t.Context(), network(t, "fake"), invocation()); err != nil {
			t.Fatal(err)
		}
		if !enabled {
			if out.Len() > 0 {
				t.Errorf("logged although nobody asked: %s", &out)
			}
			continue
		}
		var line struct {
			Level, Plugin, Command string
			Env                    map[string]string
			Config                 struct{ Type string }
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Level != "INFO" || line.Plugin != "fake" || line.Command != "ADD" || line.Env["CNI_IFNAME"] != "eth0" || line.Config.Type != "fake" {
			t.Errorf("logged %s", &out)
		}
	}
}

func TestFailuresSayWhatThePluginSaid(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		code uint
		says []string
	}{
		"CNI error":              {`echo '{"code":7,"msg":"no such link","details":"infra"}'; exit 1`, 7, []string{"no such link: infra"}},
		"code only":              {`echo '{"code":11}'; exit 1`, 11, []string{"error code 11"}},
		"garbage and exit 3":     {`echo oops; exit 3`, 0, []string{"exit status 3", "oops"}},
		"stderr and exit 1":      {`echo complaint >&2; exit 1`, 0, []string{"exit status 1", "complaint"}},
		"silence and exit 1":     {`exit 1`, 0, []string{"exit status 1"}},
		"killed":                 {`kill -9 $$`, 0, []string{"killed"}},
		"no result":              {`exit 0`, 0, []string{"printed no result"}},
		"garbage for a result":   {`echo oops`, 0, []string{"no CNI result", "oops"}},
		"null for a result":      {`echo null`, 0, []string{"no CNI result"}},
		"result of a wrong type": {`echo '{"cniVersion":"1.0.0","ips":7}'`, 0, []string{"cannot be used"}},
		"result of the future":   {`echo '{"cniVersion":"7.0.0"}'`, 0, []string{"cannot be used"}},
		"version of wrong type":  {`echo '{"cniVersion":7}'`, 0, []string{"cannot be used"}},
		"terminal escapes":       {`printf '{"code":1,"msg":"a\\u001b[31m\\nlevel=INFO"}'; exit 1`, 1, []string{"a\uFFFD[31m level=INFO"}},
		"cannot be executed":     {"", 0, []string{"cannot be started"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.plugin("fake", c.body)
			if c.body == "" {
				if err := os.WriteFile(filepath.Join(l.plugins, "fake"), []byte("\x7fELF?"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var seen error
			r := l.runner(func(o *cni.Options) {
				o.Observe = func(plugin, command string, _ time.Duration, err error) {
					if plugin == "fake" && command == "ADD" {
						seen = err
					}
				}
			})
			_, err := r.Add(t.Context(), network(t, "fake"), invocation())
			var failure *cni.PluginError
			if !errors.As(err, &failure) {
				t.Fatalf("got %v", err)
			}
			if failure.Plugin != "fake" || failure.Command != "ADD" || failure.Code != c.code || failure.TimedOut || !errors.Is(seen, failure) {
				t.Errorf("got %+v, observed %v", failure, seen)
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("error %q does not say %q", err, says)
				}
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("error %q is not one line of text", err)
			}
		})
	}
}

func TestStderrIsKeptToItsEnd(t *testing.T) {
	l := newLab(t)
	l.plugin("fake", `head -c 300000 /dev/zero | tr '\0' x >&2; echo last words >&2; exit 1`)
	_, err := l.runner().Add(t.Context(), network(t, "fake"), invocation())
	var failure *cni.PluginError
	if !errors.As(err, &failure) {
		t.Fatalf("got %v", err)
	}
	if len(failure.Stderr) != 4096 || !strings.HasSuffix(failure.Stderr, "last words\n") || len(err.Error()) > 2048 {
		t.Errorf("%d bytes of stderr, %d of the error", len(failure.Stderr), len(err.Error()))
	}
}

func TestInvalidInvocationsRunNothing(t *testing.T) {
	l := newLab(t)
	l.plugin("fake", logCalls+succeed)
	r, n := l.runner(), network(t, "fake")
	long := strings.Repeat("a", 300)
	for name, spoil := range map[string]func(*cni.Invocation){
		"container id without uid":  func(i *cni.Invocation) { i.ContainerID = "c0ffee" },
		"container id empty":        func(i *cni.Invocation) { i.ContainerID = "" },
		"container id climbs":       func(i *cni.Invocation) { i.ContainerID = "1000.x/../../../victim" },
		"container id is dots":      func(i *cni.Invocation) { i.ContainerID = "1000..." },
		"container id newline":      func(i *cni.Invocation) { i.ContainerID = "1000.a\n" },
		"container id long":         func(i *cni.Invocation) { i.ContainerID = "1000." + long },
		"container id at sign":      func(i *cni.Invocation) { i.ContainerID = "1000.a@eth0" },
		"interface empty":           func(i *cni.Invocation) { i.Interface = "" },
		"interface dot dot":         func(i *cni.Invocation) { i.Interface = ".." },
		"interface slash":           func(i *cni.Invocation) { i.Interface = "a/b" },
		"interface long":            func(i *cni.Invocation) { i.Interface = "a123456789012345" },
		"interface NUL":             func(i *cni.Invocation) { i.Interface = "a\x00" },
		"namespace by another path": func(i *cni.Invocation) { i.NetNS = "/run/netns/a" },
		"namespace of whoever":      func(i *cni.Invocation) { i.NetNS = "/proc/self/fd/3" },
		"namespace climbs":          func(i *cni.Invocation) { i.NetNS = "/proc/1/fd/3/../../ns/net" },
		"argument with semicolon":   func(i *cni.Invocation) { i.Args = [][2]string{{"A", "a;MAC=00:00:00:00:00:01"}} },
		"argument with equals":      func(i *cni.Invocation) { i.Args = [][2]string{{"A", "a=b"}} },
		"argument with newline":     func(i *cni.Invocation) { i.Args = [][2]string{{"A", "a\nb"}} },
		"argument with NUL":         func(i *cni.Invocation) { i.Args = [][2]string{{"A", "a\x00b"}} },
		"argument long":             func(i *cni.Invocation) { i.Args = [][2]string{{"A", strings.Repeat("a", 5000)}} },
		"argument not text":         func(i *cni.Invocation) { i.Args = [][2]string{{"A", "\xff"}} },
		"key with semicolon":        func(i *cni.Invocation) { i.Args = [][2]string{{"A;B", "a"}} },
		"key empty":                 func(i *cni.Invocation) { i.Args = [][2]string{{"", "a"}} },
		"key twice":                 func(i *cni.Invocation) { i.Args = [][2]string{{"A", "a"}, {"A", "b"}} },
		"key is ours":               func(i *cni.Invocation) { i.Args = [][2]string{{"IgnoreUnknown", "0"}} },
	} {
		t.Run(name, func(t *testing.T) {
			inv := invocation()
			spoil(&inv)
			if _, err := r.Add(t.Context(), n, inv); !errors.Is(err, cni.ErrInvalidInvocation) {
				t.Errorf("Add: %v", err)
			}
			if err := r.Del(t.Context(), n, inv); !errors.Is(err, cni.ErrInvalidInvocation) {
				t.Errorf("Del: %v", err)
			}
			if err := r.Check(t.Context(), n, inv); !errors.Is(err, cni.ErrInvalidInvocation) {
				t.Errorf("Check: %v", err)
			}
		})
	}
	inv := invocation()
	inv.NetNS = ""
	if _, err := r.Add(t.Context(), n, inv); !errors.Is(err, cni.ErrInvalidInvocation) {
		t.Errorf("Add without a namespace: %v", err)
	}
	if calls := l.calls(); calls != nil {
		t.Errorf("ran %v", calls)
	}
}

func TestManyAtOnce(t *testing.T) {
	l := newLab(t)
	l.plugin("one", `cat >/dev/null; echo "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"$CNI_CONTAINERID\"}]}"`)
	l.plugin("two", `sed 's/.*"prevResult"://; s/}$//; s/,"type":"two"//'`)
	var mu sync.Mutex
	runs := 0
	r := l.runner(func(o *cni.Options) {
		o.Observe = func(string, string, time.Duration, error) { mu.Lock(); runs++; mu.Unlock() }
	})
	n := network(t, "one", "two")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			inv := invocation()
			inv.ContainerID = fmt.Sprintf("1000.c%d", i)
			result, err := r.Add(t.Context(), n, inv)
			if err != nil {
				t.Error(err)
				return
			}
			if len(result.Interfaces) != 1 || result.Interfaces[0].Name != inv.ContainerID {
				t.Errorf("%s has the result %v", inv.ContainerID, result)
			}
			if err := r.Check(t.Context(), n, inv); err != nil {
				t.Error(err)
			}
			if err := r.Del(t.Context(), n, inv); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if runs != 120 {
		t.Errorf("observed %d runs", runs)
	}
}

// A chain waits for its user's turn, and only then does its own time begin.
func TestChainsWaitForTheirTurn(t *testing.T) {
	l := newLab(t)
	l.plugin("fake", logCalls+succeed)
	turns := fair.New(fair.Options{Limits: fair.Limits{InAll: 1, PerUser: 1}})
	r, n := l.runner(func(o *cni.Options) { o.Turns = turns }), network(t, "fake")
	turn, leave, err := turns.Enter(t.Context(), 1001, fair.Make)
	if err != nil {
		t.Fatal(err)
	}
	over := newDeadline()
	close(over.over)
	if _, err := r.Add(over, n, invocation()); !errors.Is(err, fair.ErrBusy) {
		t.Errorf("Add: %v", err)
	}
	if err := r.Check(over, n, invocation()); !errors.Is(err, fair.ErrBusy) {
		t.Errorf("Check: %v", err)
	}
	if err := r.Del(over, n, invocation()); !errors.Is(err, fair.ErrBusy) {
		t.Errorf("Del: %v", err)
	}
	if calls := l.calls(); calls != nil {
		t.Errorf("ran %v", calls)
	}
	// Work in a turn goes on in it.
	if _, err := r.Add(turn, n, invocation()); err != nil {
		t.Error(err)
	}
	leave()
	if err := r.Del(t.Context(), n, invocation()); err != nil {
		t.Error(err)
	}
	if running, waiting := turns.Counts(); running != 0 || waiting != 0 {
		t.Errorf("%d run and %d wait, and nothing is there", running, waiting)
	}
	beyond := invocation()
	beyond.ContainerID = "4294967296.c0ffee"
	if err := r.Del(t.Context(), n, beyond); !errors.Is(err, cni.ErrInvalidInvocation) {
		t.Errorf("of a uid that there cannot be: %v", err)
	}
}
