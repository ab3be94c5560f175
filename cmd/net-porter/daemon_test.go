package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// asProgram makes the test binary be the program, so that tests run the very main.
const asProgram = "NET_PORTER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	testlab.Main(m)
}

// program is a net-porter process.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *bufio.Scanner
	said   strings.Builder
}

func run(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command("/proc/self/exe", args...)}
	p.cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
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

// waitFor reads what the program logs until text is in a line of it.
func (p *program) waitFor(text string) {
	p.t.Helper()
	for p.stderr.Scan() {
		p.said.WriteString(p.stderr.Text() + "\n")
		if strings.Contains(p.stderr.Text(), text) {
			return
		}
	}
	p.t.Fatalf("the program never said %q:\n%s", text, p.said.String())
}

// drain reads on, from where nothing else is waited for: a daemon that logs into a full
// pipe stands still. What it returns is closed at the program's end.
func (p *program) drain() (ended <-chan struct{}) {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for p.stderr.Scan() {
			p.said.WriteString(p.stderr.Text() + "\n")
		}
	}()
	return drained
}

// end waits for the program's end and returns its exit status.
func (p *program) end() int {
	p.t.Helper()
	for p.stderr.Scan() {
		p.said.WriteString(p.stderr.Text() + "\n")
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

type place struct{ dir, socket, config string }

// newPlace writes a configuration with one resource for uid 1000 whose plugin is the
// shell script, chained to nothing.
func newPlace(t *testing.T, script string) place {
	t.Helper()
	dir := testlab.PublicDir(t)
	p := place{dir: dir, socket: filepath.Join(dir, "s"), config: filepath.Join(dir, "config.json")}
	files := map[string]string{
		p.config: fmt.Sprintf(`{"domain_socket":{"path":%q,"group":"root","mode":"0666"},"state_dir":%q,
			"cni":{"config_dir":%q,"plugin_dirs":[%q]},"metrics":{"listen":"127.0.0.1:9758"},
			"resources":[{"name":"lan","allow_users":[1000]}]}`, p.socket, dir+"/state", dir, dir),
		dir + "/lan.json": `{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"fake"}]}`,
		dir + "/fake":     "#!/bin/sh\n" + script,
	}
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

const fakeResult = `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"x"}],"ips":[{"address":"192.0.2.7/24","interface":0}]}`

func TestServerStartsAndStopsCleanly(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, "cat >/dev/null; echo '"+fakeResult+"'")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at.dir + "/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	p := run(t, []string{"NOTIFY_SOCKET=" + at.dir + "/notify"}, "server", "-c", at.config)
	expectNotify(t, notify, "READY=1")

	second := run(t, nil, "server", "-c", at.config)
	if code := second.end(); code != 1 || !strings.Contains(second.said.String(), "another net-porter server") {
		t.Errorf("a second daemon on the same state: %d %s", code, second.said.String())
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expectNotify(t, notify, "STOPPING=1")
	if code := p.end(); code != 0 {
		t.Errorf("exit status %d\n%s", code, p.said.String())
	}
	if _, err := os.Lstat(at.socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func expectNotify(t *testing.T, c *net.UnixConn, want string) {
	t.Helper()
	buf := make([]byte, 4096)
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil { // a daemon that ended never says it
		t.Fatal(err)
	}
	n, err := c.Read(buf)
	if err != nil || !slices.Contains(strings.Split(string(buf[:n]), "\n"), want) {
		t.Fatalf("systemd was told %q (%v), want %q", buf[:n], err, want)
	}
}

// SIGTERM during an attach: it is finished and answered, then the daemon ends.
func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	testlab.RequireRoot(t)
	begun, gate := fifo(t), fifo(t)
	at := newPlace(t, `cat >/dev/null
		[ "$CNI_COMMAND" = ADD ] || exit 0
		nsenter --net="$CNI_NETNS" ip link add eth0 address 02:00:00:00:00:01 type bridge
		echo in >`+begun.Name()+`; read go <`+gate.Name()+`; echo '`+fakeResult+"'")
	p := run(t, nil, "server", "-c", at.config)
	p.waitFor("is ready")
	u := testlab.User{UID: 1000, GID: 1000}
	s, ns := u.Sandbox(t), u.Dir(t)+"/netns"
	s.PersistNetns(ns)
	answered := make(chan testlab.Response, 1)
	go func() {
		answered <- s.HTTP(at.socket, testlab.Request{
			Method: "POST", Path: "/v1/networks/lan/attach", Header: http.Header{"Content-Type": {"application/json"}},
			Body: fmt.Appendf(nil, `{"container_id":"c1","interface_name":"eth0","netns":%q}`, ns),
		})
	}()
	if _, err := io.ReadFull(begun, make([]byte, len("in\n"))); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitRefused(t, at.socket)
	if _, err := gate.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	if r := <-answered; r.Status != http.StatusOK {
		t.Errorf("the attach under way was answered %d %s", r.Status, r.Body)
	}
	if code := p.end(); code != 0 {
		t.Errorf("exit status %d\n%s", code, p.said.String())
	}
	if _, err := os.Stat(at.dir + "/state/attachments/1000.c1@eth0.json"); err != nil {
		t.Errorf("the attachment is not in the journal: %v", err)
	}
}

// fifo makes a named pipe and opens it, without waiting for who is at its other end.
func fifo(t *testing.T) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// waitRefused returns once nobody listens on the socket any more. There is nothing
// that tells of a listener's end, so it asks until it is so.
func waitRefused(t *testing.T, path string) {
	t.Helper()
	for t.Context().Err() == nil {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path)
		if err != nil {
			return
		}
		c.Close()
	}
	t.Fatal("the daemon goes on accepting connections")
}

// The socket that systemd made and passed is used, and not removed.
func TestSocketFromSystemd(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, "exit 1")
	path := at.dir + "/passed"
	p := runWith(t, passedSocket(t, path), at)
	p.waitFor("is ready")
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	r, err := client.Get("http://localhost/healthz")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("answered %s", r.Status)
	}
	if _, err := os.Lstat(at.socket); err == nil {
		t.Error("the configured socket was made as well")
	}
	client.CloseIdleConnections()
	_ = p.cmd.Process.Signal(unix.SIGTERM)
	if code := p.end(); code != 0 {
		t.Errorf("exit status %d\n%s", code, p.said.String())
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("systemd's socket was removed: %v", err)
	}
}

// What a newcomer gets wrong at the start is said in a line that names the cure.
func TestStartErrors(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, "exit 1")
	write := func(content string) string {
		path := filepath.Join(at.dir, "broken.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct{ name, config, says string }{
		{"no file", "", "-c FILE"},
		{"a missing comma", "{\n \"state_dir\": \"/x\"\n \"resources\": []\n}", "2:19: expected ',' or '}'"},
		{"no such group", fmt.Sprintf(`{"resources":[],"state_dir":%q,"domain_socket":{"path":%q,"group":"no-such-group"}}`, at.dir+"/state", at.socket), "groupadd --system no-such-group"},
		{"a folder that others can write to", fmt.Sprintf(`{"resources":[],"state_dir":%q}`, at.dir+"/open"), "chmod 0700"},
	}
	if err := os.Mkdir(at.dir+"/open", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(at.dir+"/open", 0o777); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(at.dir, "absent.json")
			if tt.config != "" {
				path = write(tt.config)
			}
			p := run(t, nil, "server", "-c", path)
			if code := p.end(); code != 1 || !strings.Contains(p.said.String(), tt.says) {
				t.Errorf("exit status %d, want 1 and %q:\n%s", code, tt.says, p.said.String())
			}
		})
	}
}
