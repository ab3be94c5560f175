package cni_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/cni"
)

// lab is a folder of plugins that are shell scripts, and what they leave in it.
type lab struct {
	t              *testing.T
	plugins, state string
	cache          string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, plugins: ownDir(t), state: ownDir(t)}
	l.cache = filepath.Join(l.state, "cache")
	return l
}

// ownDir is a folder that nobody else can write to, whatever the umask.
func ownDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cni-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// plugin makes a script; in its body $state is the lab's folder.
func (l *lab) plugin(name, body string) {
	l.t.Helper()
	file := filepath.Join(l.plugins, name)
	if err := os.WriteFile(file, []byte("#!/bin/sh\nstate="+l.state+"\n"+body+"\n"), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Chmod(file, 0o755); err != nil {
		l.t.Fatal(err)
	}
}

// Bodies of plugins.
const (
	succeed  = `cat >/dev/null; echo '{"cniVersion":"1.0.0"}'`
	logCalls = `echo "$CNI_COMMAND $(basename $0)" >>$state/calls; `
)

func (l *lab) runner(change ...func(*cni.Options)) *cni.Runner {
	l.t.Helper()
	options := cni.Options{PluginDirs: []string{l.plugins}, CacheDir: l.cache, Timeout: time.Hour}
	for _, c := range change {
		c(&options)
	}
	r, err := cni.NewRunner(options)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *lab) read(name string) string {
	l.t.Helper()
	data, err := os.ReadFile(filepath.Join(l.state, name))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(data)
}

// calls lists what plugins were run so far, and forgets it.
func (l *lab) calls() []string {
	l.t.Helper()
	file := filepath.Join(l.state, "calls")
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		l.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// fifo makes a FIFO for a script to tell of a process; process waits for it.
func (l *lab) fifo(name string) {
	l.t.Helper()
	if err := unix.Mkfifo(filepath.Join(l.state, name), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// process reads a pid that a script writes to a FIFO and returns its pidfd.
func (l *lab) process(name string) int {
	l.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(l.read(name)))
	if err != nil {
		l.t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		unix.Close(fd)
	})
	return fd
}

// start has a plugin go on that waits for it, so that it does not end before it is known.
func (l *lab) start() {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.state, "started"), nil, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// mustEnd fails unless the process of a pidfd ends.
func mustEnd(t *testing.T, pidfd int) {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 60000)
	if err != nil || n != 1 {
		t.Errorf("the plugin's descendant still runs (%v)", err)
	}
}

// deadline is a context whose time is over when the test says so.
type deadline struct {
	context.Context
	over chan struct{}
}

func newDeadline() *deadline { return &deadline{context.Background(), make(chan struct{})} }

func (d *deadline) Done() <-chan struct{} { return d.over }

func (d *deadline) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// network is a chain of plugins without configuration.
func network(t *testing.T, types ...string) *cni.Network {
	t.Helper()
	var plugins []string
	for _, name := range types {
		plugins = append(plugins, fmt.Sprintf(`{"type":%q}`, name))
	}
	return mustParse(t, `{"cniVersion":"1.0.0","name":"net","plugins":[`+strings.Join(plugins, ",")+`]}`)
}

func invocation() cni.Invocation {
	return cni.Invocation{ContainerID: "1000.c0ffee", Interface: "eth0", NetNS: "/proc/4242/fd/17"}
}
