package cni_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/cni"
)

func TestMissingPluginStopsADDBeforeAnythingIsMade(t *testing.T) {
	l := newLab(t)
	l.plugin("first", logCalls+succeed)
	_, err := l.runner().Add(t.Context(), network(t, "first", "second"), invocation())
	if !errors.Is(err, cni.ErrPluginMissing) || l.calls() != nil {
		t.Errorf("got %v", err)
	}
}

func TestFailingADDLeavesTheRestToDEL(t *testing.T) {
	l := newLab(t)
	l.plugin("first", logCalls+succeed)
	l.plugin("second", logCalls+`test $CNI_COMMAND = DEL || exit 1`)
	l.plugin("third", logCalls+succeed)
	r, n := l.runner(), network(t, "first", "second", "third")
	var failure *cni.PluginError
	if _, err := r.Add(t.Context(), n, invocation()); !errors.As(err, &failure) || failure.Plugin != "second" {
		t.Errorf("got %v", err)
	}
	if calls := l.calls(); !slices.Equal(calls, []string{"ADD first", "ADD second"}) {
		t.Errorf("ran %v", calls)
	}
	if err := r.Del(t.Context(), n, invocation()); err != nil {
		t.Error(err)
	}
	if calls := l.calls(); !slices.Equal(calls, []string{"DEL third", "DEL second", "DEL first"}) {
		t.Errorf("ran %v", calls)
	}
}

func TestDELGoesOnPastEveryFailure(t *testing.T) {
	l := newLab(t)
	l.plugin("first", logCalls+succeed)
	l.plugin("second", logCalls+`cat >/dev/null; test $CNI_COMMAND = DEL && exit 1; echo '{"cniVersion":"1.0.0"}'`)
	l.plugin("third", logCalls+succeed)
	l.plugin("fourth", logCalls+succeed)
	r, n := l.runner(), network(t, "first", "second", "third", "fourth")
	if _, err := r.Add(t.Context(), n, invocation()); err != nil {
		t.Fatal(err)
	}
	l.calls()
	if err := os.Remove(filepath.Join(l.plugins, "third")); err != nil {
		t.Fatal(err)
	}
	err := r.Del(t.Context(), n, invocation())
	var failure *cni.PluginError
	if !errors.Is(err, cni.ErrPluginMissing) || !errors.As(err, &failure) || failure.Plugin != "second" || failure.Command != "DEL" {
		t.Errorf("got %v", err)
	}
	if calls := l.calls(); !slices.Equal(calls, []string{"DEL fourth", "DEL second", "DEL first"}) {
		t.Errorf("ran %v", calls)
	}
	// The next try still has ADD's result to hand on, and the one that succeeds removes it.
	l.plugin("third", `cat >$state/stdin`)
	l.plugin("second", succeed)
	if err := r.Del(t.Context(), n, invocation()); err != nil {
		t.Error(err)
	}
	if stdin := l.read("stdin"); !strings.Contains(stdin, "prevResult") {
		t.Errorf("the second DEL had no result: %s", stdin)
	}
	if left, err := os.ReadDir(l.cache); err != nil || len(left) != 0 {
		t.Errorf("left in the cache: %v, %v", left, err)
	}
}

func TestHangingDELLeavesTimeForTheOthers(t *testing.T) {
	l := newLab(t)
	l.plugin("first", logCalls+succeed)
	l.plugin("second", `sleep 1000`)
	r := l.runner(func(o *cni.Options) { o.Timeout = 10 * time.Second })
	if err := r.Del(t.Context(), network(t, "first", "second"), invocation()); !errors.Is(err, cni.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if calls := l.calls(); !slices.Equal(calls, []string{"DEL first"}) {
		t.Errorf("ran %v", calls)
	}
}

func TestDELWithoutANamespaceReleasesTheAddress(t *testing.T) {
	for name, c := range map[string]struct {
		plugins string
		body    string // of the main plugin
		want    []string
		fails   bool
	}{
		"sbr is passed over":               {`{"type":"main","ipam":{"type":"ipam"}},{"type":"sbr"}`, succeed, []string{"DEL main"}, false},
		"host-device leaves IPAM alone":    {`{"type":"host-device","ipam":{"type":"ipam"}}`, "", []string{"DEL ipam"}, false},
		"host-device without IPAM":         {`{"type":"host-device"}`, "", nil, false},
		"vlan wants its parent":            {`{"type":"vlan","ipam":{"type":"ipam"}}`, "", []string{"DEL ipam"}, false},
		"a failing plugin keeps IPAM not":  {`{"type":"main","ipam":{"type":"ipam"}}`, "exit 1", []string{"DEL main", "DEL ipam"}, true},
		"a plugin that fails and has none": {`{"type":"main"}`, "exit 1", []string{"DEL main"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			for _, plugin := range []string{"sbr", "host-device", "vlan", "ipam"} {
				l.plugin(plugin, logCalls+succeed)
			}
			l.plugin("main", logCalls+c.body)
			inv := invocation()
			inv.NetNS = ""
			err := l.runner().Del(t.Context(), mustParse(t, `{"cniVersion":"1.0.0","name":"n","plugins":[`+c.plugins+`]}`), inv)
			if (err != nil) != c.fails {
				t.Errorf("got %v", err)
			}
			if calls := l.calls(); !slices.Equal(calls, c.want) {
				t.Errorf("ran %v", calls)
			}
		})
	}
}

// Descriptor numbers are used again: the one of ADD may name another container by now.
func TestRecordedNamespaceIsNeverUsedAgain(t *testing.T) {
	l := newLab(t)
	l.plugin("fake", `cat >$state/stdin; echo "$CNI_NETNS" >$state/netns; echo "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"host0\"},{\"name\":\"eth0\",\"sandbox\":\"$CNI_NETNS\"}]}"`)
	r, n := l.runner(), network(t, "fake")
	inv := invocation()
	if _, err := r.Add(t.Context(), n, inv); err != nil {
		t.Fatal(err)
	}
	for _, now := range []string{"/proc/4242/fd/99", ""} {
		inv.NetNS = now
		if now != "" {
			if err := r.Check(t.Context(), n, inv); err != nil {
				t.Fatal(err)
			}
			compareSandbox(t, l, now, now)
			continue
		}
		if err := r.Del(t.Context(), n, inv); err != nil {
			t.Fatal(err)
		}
		compareSandbox(t, l, "", "/proc/0/ns/net")
	}
}

func compareSandbox(t *testing.T, l *lab, netns, sandbox string) {
	t.Helper()
	var conf struct {
		PrevResult struct {
			Interfaces []struct{ Name, Sandbox string }
		}
	}
	if err := json.Unmarshal([]byte(l.read("stdin")), &conf); err != nil {
		t.Fatal(err)
	}
	links := conf.PrevResult.Interfaces
	if l.read("netns") != netns+"\n" || len(links) != 2 || links[0].Sandbox != "" || links[1].Sandbox != sandbox {
		t.Errorf("CNI_NETNS %q, interfaces %v", l.read("netns"), links)
	}
}

func TestCapabilityArgsReachWhoDeclaresThem(t *testing.T) {
	l := newLab(t)
	l.plugin("deaf", `cat >$state/deaf; echo '{"cniVersion":"1.0.0"}'`)
	l.plugin("portmap", `cat >$state/portmap.$CNI_COMMAND; echo '{"cniVersion":"1.0.0"}'`)
	n := mustParse(t, `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"deaf"},{"type":"portmap","capabilities":{"portMappings":true}}]}`)
	if !n.HasCapability("portMappings") || n.HasCapability("ips") {
		t.Error("declared capabilities are not seen")
	}
	inv := invocation()
	inv.CapabilityArgs = map[string]any{"portMappings": []map[string]any{{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}}}
	r := l.runner()
	if _, err := r.Add(t.Context(), n, inv); err != nil {
		t.Fatal(err)
	}
	inv.CapabilityArgs = nil // DEL without them would leave portmap's rules
	if err := r.Del(t.Context(), n, inv); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"portmap.ADD", "portmap.DEL"} {
		if !strings.Contains(l.read(name), `"runtimeConfig":{"portMappings":[{"containerPort":80,"hostPort":8080,"protocol":"tcp"}]}`) {
			t.Errorf("%s got %s", name, l.read(name))
		}
	}
	if strings.Contains(l.read("deaf"), "8080") {
		t.Errorf("a plugin without the capability got %s", l.read("deaf"))
	}
}

func TestTornCacheIsSurvived(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "half": `{"kind":"cniCacheV1","contain`, "other": `{}`, "odd": `[1]`} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.plugin("fake", logCalls+succeed)
			r, n, inv := l.runner(), network(t, "fake"), invocation()
			if _, err := r.Add(t.Context(), n, inv); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(l.cache, "1000.c0ffee@eth0", "results", "*"))
			if err != nil || len(files) != 1 {
				t.Fatalf("cache holds %v, %v", files, err)
			}
			write(t, files[0], content)
			l.calls()
			if err := r.Del(t.Context(), n, inv); err != nil {
				t.Error(err)
			}
			if calls := l.calls(); !slices.Equal(calls, []string{"DEL fake"}) {
				t.Errorf("ran %v", calls)
			}
			if left, err := os.ReadDir(l.cache); err != nil || len(left) != 0 {
				t.Errorf("left in the cache: %v, %v", left, err)
			}
		})
	}
}

// libcni alone joins network, container and interface with '-'.
func TestAttachmentsNeverShareACache(t *testing.T) {
	l := newLab(t)
	l.plugin("fake", `cat >$state/stdin; echo "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"$CNI_CONTAINERID $CNI_IFNAME\"}]}"`)
	r, n := l.runner(), network(t, "fake")
	one, two := invocation(), invocation()
	one.ContainerID, one.Interface = "1000.a-b", "c"
	two.ContainerID, two.Interface = "1000.a", "b-c"
	for _, inv := range []cni.Invocation{one, two} {
		if _, err := r.Add(t.Context(), n, inv); err != nil {
			t.Fatal(err)
		}
	}
	for _, inv := range []cni.Invocation{one, two} {
		if err := r.Del(t.Context(), n, inv); err != nil {
			t.Fatal(err)
		}
		if stdin := l.read("stdin"); !strings.Contains(stdin, inv.ContainerID+" "+inv.Interface) {
			t.Errorf("DEL of %v got %s", inv, stdin)
		}
	}
}

func TestCacheIsPrivate(t *testing.T) {
	l := newLab(t)
	l.plugin("fake", succeed)
	if _, err := l.runner().Add(t.Context(), network(t, "fake"), invocation()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{l.cache, filepath.Join(l.cache, "1000.c0ffee@eth0")} {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
}
