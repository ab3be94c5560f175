package cni_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/testlab"
)

const bridgeHostLocal = `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"tuning"}]}`

func TestCheckNamesEveryMissingPlugin(t *testing.T) {
	l := newLab(t)
	l.plugin("bridge", succeed)
	err := mustParse(t, bridgeHostLocal).Check([]string{filepath.Join(l.state, "nowhere"), l.plugins})
	if !errors.Is(err, cni.ErrPluginMissing) {
		t.Fatalf("got %v", err)
	}
	for _, says := range []string{"host-local", "tuning", l.plugins, "cni.plugin_dirs"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("error %q does not say %q", err, says)
		}
	}
	l.plugin("host-local", succeed)
	l.plugin("tuning", succeed)
	if err := mustParse(t, bridgeHostLocal).Check([]string{filepath.Join(l.state, "nowhere"), l.plugins}); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
}

func TestCheckRefusesWhatOthersCouldChange(t *testing.T) {
	chmod := func(t *testing.T, path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(t *testing.T, above, dir string) string{
		"plugin writable by group":  func(t *testing.T, _, dir string) string { chmod(t, dir+"/bridge", 0o775); return dir },
		"plugin writable by others": func(t *testing.T, _, dir string) string { chmod(t, dir+"/bridge", 0o757); return dir },
		"plugin not executable":     func(t *testing.T, _, dir string) string { chmod(t, dir+"/bridge", 0o644); return dir },
		"folder writable by group":  func(t *testing.T, _, dir string) string { chmod(t, dir, 0o775); return dir },
		"folder sticky":             func(t *testing.T, _, dir string) string { chmod(t, dir, 0o777|os.ModeSticky); return dir },
		"folder above writable":     func(t *testing.T, above, dir string) string { chmod(t, above, 0o777); return dir },
		"link to such a folder": func(t *testing.T, _, dir string) string {
			chmod(t, dir, 0o777)
			link := filepath.Join(ownDir(t), "link")
			if err := os.Symlink(dir, link); err != nil {
				t.Fatal(err)
			}
			return link
		},
		"link in such a folder": func(t *testing.T, above, dir string) string {
			elsewhere := ownDir(t)
			chmod(t, elsewhere, 0o777)
			if err := os.Symlink(dir, filepath.Join(elsewhere, "link")); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(elsewhere, "link")
		},
		"plugin of another user": func(t *testing.T, _, dir string) string {
			testlab.RequireRoot(t)
			if err := os.Chown(dir+"/bridge", 4711, 0); err != nil {
				t.Fatal(err)
			}
			return dir
		},
		"folder of another user": func(t *testing.T, _, dir string) string {
			testlab.RequireRoot(t)
			if err := os.Chown(dir, 4711, 0); err != nil {
				t.Fatal(err)
			}
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			above := ownDir(t)
			l.plugins = filepath.Join(above, "plugins")
			if err := os.Mkdir(l.plugins, 0o700); err != nil {
				t.Fatal(err)
			}
			l.plugin("bridge", logCalls+succeed)
			n := network(t, "bridge")
			if err := n.Check([]string{l.plugins}); err != nil {
				t.Fatalf("before: %v", err)
			}
			dir := spoil(t, above, l.plugins)
			if err := n.Check([]string{dir}); !errors.Is(err, cni.ErrPluginUnsafe) {
				t.Errorf("Check: %v", err)
			}
			r := l.runner(func(o *cni.Options) { o.PluginDirs = []string{dir} })
			if _, err := r.Add(t.Context(), n, invocation()); !errors.Is(err, cni.ErrPluginUnsafe) {
				t.Errorf("Add: %v", err)
			}
			if err := r.Del(t.Context(), n, invocation()); !errors.Is(err, cni.ErrPluginUnsafe) {
				t.Errorf("Del: %v", err)
			}
			if calls := l.calls(); calls != nil {
				t.Errorf("it was run all the same: %v", calls)
			}
		})
	}
}

// A main plugin runs its IPAM plugin by itself, so the check has to come before.
func TestUnsafeIPAMPluginStopsDELOfTheMainPlugin(t *testing.T) {
	l := newLab(t)
	l.plugin("bridge", logCalls+succeed)
	l.plugin("tuning", logCalls+succeed)
	l.plugin("host-local", logCalls+succeed)
	if err := os.Chmod(filepath.Join(l.plugins, "host-local"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := l.runner().Del(t.Context(), mustParse(t, bridgeHostLocal), invocation()); !errors.Is(err, cni.ErrPluginUnsafe) {
		t.Errorf("got %v", err)
	}
	if calls := l.calls(); len(calls) != 1 || calls[0] != "DEL tuning" {
		t.Errorf("ran %v", calls)
	}
}

func TestNewRunnerRefuses(t *testing.T) {
	good := cni.Options{PluginDirs: []string{"/opt/cni/bin"}, CacheDir: filepath.Join(t.TempDir(), "cache"), Timeout: 1}
	for name, spoil := range map[string]func(*cni.Options){
		"relative folder":    func(o *cni.Options) { o.PluginDirs = []string{"bin"} },
		"two in one":         func(o *cni.Options) { o.PluginDirs = []string{"/a:/tmp/b"} },
		"no folder":          func(o *cni.Options) { o.PluginDirs = nil },
		"no timeout":         func(o *cni.Options) { o.Timeout = 0 },
		"relative cache":     func(o *cni.Options) { o.CacheDir = "cache" },
		"cache not a folder": func(o *cni.Options) { o.CacheDir = "/dev/null/cache" },
	} {
		options := good
		spoil(&options)
		if _, err := cni.NewRunner(options); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := cni.NewRunner(good); err != nil {
		t.Error(err)
	}
}
