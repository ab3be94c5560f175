package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// passedSocket is one that systemd holds.
func passedSocket(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// runWith starts the daemon with a socket, as systemd does (sd_listen_fds(3)).
func runWith(t *testing.T, socket *os.File, at place, env ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command("sh", "-c", `LISTEN_PID=$$ exec /proc/`+fmt.Sprint(os.Getpid())+`/exe server -c `+at.config)}
	p.cmd.Env = append(append(os.Environ(), asProgram+"=1", "LISTEN_FDS=1"), env...)
	p.cmd.ExtraFiles = []*os.File{socket}
	pipe, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stderr = bufio.NewScanner(pipe)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	return p
}

// netavark runs the plugin as it does, for one user's containers.
type netavark struct {
	*testlab.Sandbox
	plugin, socket, netns string
}

func (n netavark) run(command, container string) (string, error) {
	document := fmt.Sprintf(`{"container_id":%q,"container_name":"web","port_mappings":null,
		"network":{"name":"n","id":"%064d","driver":"net-porter","options":{"net_porter_resource":"lan","net_porter_socket":%q}},
		"network_options":{"interface_name":"eth0"}}`, container, 1, n.socket)
	return n.Try("exec", "sh", "-c", `printf %s "$1" | exec env `+asProgram+`=1 "$2" plugin "$3" "$4"`, "sh", document, n.plugin, command, n.netns)
}

// Who starts and stops containers while the daemon restarts, twenty times, notices
// nothing: what it has begun it finishes, and what waits is its successor's.
func TestRestartsUnderLoad(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, anyPlugin)
	at.rewrite(t, `"allow_users":[1000]`, `"allow_users":[1000,1001]`)
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	plugin := filepath.Join(at.dir, "plugin") // which the users can reach
	if err := os.WriteFile(plugin, program, 0o755); err != nil {
		t.Fatal(err)
	}
	path := at.dir + "/passed"
	socket := passedSocket(t, path)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	p := runWith(t, socket, at)
	p.waitFor("is ready")

	var running sync.WaitGroup
	over := make(chan struct{})
	const users, loops = 2, 2
	var done [users * loops]atomic.Int64 // attaches and detaches
	progress := make(chan struct{}, 1)
	for i := range done {
		u := testlab.User{UID: uint32(1000 + i%users), GID: uint32(1000 + i%users)}
		n := netavark{u.Sandbox(t), plugin, path, u.Dir(t) + "/netns"}
		n.PersistNetns(n.netns)
		running.Go(func() {
			defer func() {
				select {
				case progress <- struct{}{}:
				default:
				}
			}()
			for round := 0; !isClosed(over); round++ {
				id := fmt.Sprintf("%064x", i<<32+round)
				for _, command := range []string{"setup", "teardown"} {
					out, err := n.run(command, id)
					ok := err == nil && (strings.Contains(out, "192.0.2.7/24") || command == "teardown" && out == "")
					if !ok {
						t.Errorf("%s in round %d: %v: %s", command, round, err, out)
						return
					}
					done[i].Add(1)
					select {
					case progress <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	for range 20 {
		// Everybody is under way again.
		var before [len(done)]int64
		for i := range done {
			before[i] = done[i].Load()
		}
		for i := 0; i < len(done) && !t.Failed(); {
			if done[i].Load() > before[i] {
				i++
			} else {
				<-progress
			}
		}
		if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.end(); code != 0 {
			t.Errorf("exit status %d\n%s", code, p.said.String())
		}
		p = runWith(t, socket, at)
		p.waitFor("is ready")
	}
	close(over)
	drained := p.drain()
	running.Wait()
	if left := at.attachments(t, path); left != `{"attachments":[]}`+"\n" {
		t.Errorf("left are %s", left)
	}
	_ = p.cmd.Process.Signal(unix.SIGTERM)
	<-drained
	for i := range done {
		t.Logf("loop %d: %d attaches and detaches", i, done[i].Load())
	}
}

// attachments is everybody's, as root sees them.
func (at place) attachments(t *testing.T, socket string) string {
	t.Helper()
	r := testlab.User{}.Run(t).HTTP(socket, testlab.Request{Method: "GET", Path: "/v1/attachments"})
	return string(r.Body)
}

// Who connected to a daemon that then ended without a word to them is served by the
// next one: what waits in a socket's backlog stays there.
func TestBacklogIsServedByTheNextDaemon(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, anyPlugin)
	path := at.dir + "/passed"
	socket := passedSocket(t, path)
	p := runWith(t, socket, at)
	p.waitFor("is ready")
	_ = p.cmd.Process.Signal(unix.SIGSTOP)
	// Once it has stopped it accepts nobody any more.
	if err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Process.Signal(unix.SIGKILL)
	p.end()
	runWith(t, socket, at)
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Errorf("answered %q (%v)", answer, err)
	}
}
