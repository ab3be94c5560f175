package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// systemd is what the daemon takes for systemd.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newSystemd(t *testing.T, dir string) *systemd {
	t.Helper()
	s := &systemd{t: t, path: dir + "/notify"}
	var err error
	if s.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close() })
	return s
}

// env is for the daemon; watchdog as in WatchdogSec=, 0 for none.
func (s *systemd) env(watchdog time.Duration) []string {
	env := []string{"NOTIFY_SOCKET=" + s.path}
	if watchdog > 0 {
		env = append(env, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))
	}
	return env
}

// next is the next message.
func (s *systemd) next() string {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil { // a daemon that ended never says it
		s.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := s.conn.Read(buf)
	if err != nil {
		s.t.Fatalf("the daemon says nothing to systemd: %v", err)
	}
	return string(buf[:n])
}

// wait returns the next message that has the text, and all before it.
func (s *systemd) wait(text string) (message string, before []string) {
	s.t.Helper()
	for {
		message = s.next()
		if strings.Contains(message, text) {
			return message, before
		}
		before = append(before, message)
	}
}

// said returns what the daemon has said by now.
func (s *systemd) said() []string {
	s.t.Helper()
	conn, err := s.conn.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	if err := conn.Read(func(fd uintptr) bool {
		for buf := make([]byte, 4096); ; {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if err != nil {
				return true
			}
			all = append(all, string(buf[:n]))
		}
	}); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// rewrite changes the configuration's text.
func (at place) rewrite(t *testing.T, pairs ...string) {
	t.Helper()
	data, err := os.ReadFile(at.config)
	if err == nil { // in one step: on a disk that takes its time, a daemon that watches would read half of it
		err = os.WriteFile(at.config+".new", []byte(strings.NewReplacer(pairs...).Replace(string(data))), 0o644)
	}
	if err == nil {
		err = os.Rename(at.config+".new", at.config)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// hangUp is what `systemctl reload` does.
func (p *program) hangUp() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(unix.SIGHUP); err != nil {
		p.t.Fatal(err)
	}
}

// metric reads one series of the daemon's.
func (at place) metric(t *testing.T, series string) string {
	t.Helper()
	for line := range strings.Lines(string(at.get(t, "/metrics").Body)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// get asks the daemon as root.
func (at place) get(t *testing.T, path string) testlab.Response {
	t.Helper()
	return testlab.User{}.Run(t).HTTP(at.socket, testlab.Request{Method: http.MethodGet, Path: path})
}
