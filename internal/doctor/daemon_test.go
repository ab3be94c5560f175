package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	askSocket  = systemctl + " show -p LoadState,ActiveState,UnitFileState --value " + socketUnit
	askService = systemctl + " show -p ActiveState --value " + daemonUnit
	askJournal = journalctl + " -q -u " + daemonUnit + " -n 1 -o cat --no-pager"
)

// Where the daemon is not, what is to be done depends on what systemd has of it.
func TestUnits(t *testing.T) {
	for _, c := range []struct {
		socket, service string
		words           string
	}{
		{"loaded\ninactive\ndisabled\n", "inactive\n", "systemctl enable --now net-porter.socket"},
		{"not-found\ninactive\n\n", "inactive\n", "install its package"},
		{"masked\ninactive\nmasked\n", "inactive\n", "systemctl start net-porter.service"},
		{"loaded\nfailed\nenabled\n", "failed\n", "the daemon has failed"},
		{"loaded\nactive\nenabled\n", "activating\n", "does not get ready"},
		{"", "", "systemctl enable --now net-porter.socket"}, // no systemd
	} {
		says := map[string]string{askService: c.service, askJournal: "net-porter: it is \x1b[1mbroken\n"}
		if c.socket != "" {
			says[askSocket] = c.socket
		}
		e := fake(t, nil, says)
		e.daemon(context.Background())
		want(t, e, Problem, "daemon.socket", "there is no socket /run/net-porter.sock", c.words)
		if strings.Contains(e.report.Findings[0].Remedy, "broken") {
			t.Error("the log is not for everybody")
		}
	}
}

// Root is told why the daemon fails without a look at the log.
func TestLastWords(t *testing.T) {
	testlab.RequireRoot(t)
	e := fake(t, map[string]string{systemctl: "#!", journalctl: "#!"}, map[string]string{
		askSocket: "loaded\nfailed\nenabled\n", askService: "failed\n", askJournal: "net-porter: it is \x1b[1mbroken\n",
	})
	e.host.asRoot = true
	e.daemon(context.Background())
	want(t, e, Problem, "daemon.socket", "the daemon has failed", `"net-porter: it is \x1b[1mbroken"`)
}

// Who answers need not be a daemon, and need not answer.
func TestDaemonThatIsNone(t *testing.T) {
	e := fake(t, map[string]string{"/run/x": ""}, nil)
	l, err := net.Listen("unix", e.host.path(e.o.Socket))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\"\x1b[2J\"..."))
				c.Close()
			}
		}
	}()
	e.daemon(context.Background())
	want(t, e, Problem, "daemon.answer", "does not answer")
	if e.said || strings.Contains(e.report.Findings[0].Text, "\x1b") {
		t.Errorf("it was believed: %+v", e.report.Findings)
	}
	l.Close()
}

// A mode that lets somebody connect does not help where a security module does not.
func TestRefusedAllTheSame(t *testing.T) {
	e := fake(t, map[string]string{"/run/net-porter.sock": ""}, nil)
	e.subject.self, e.subject.session = true, nil
	gid := socketGroup(t, e)
	e.subject.groups, e.subject.UID = []uint32{gid}, 4242
	e.refused = true
	e.membership(context.Background())
	want(t, e, Problem, "access.refused", "ausearch")
	e.report.Findings, e.refused = nil, false
	e.membership(context.Background())
	want(t, e, OK, "access.group")
}

// socketGroup makes the socket one for its group, and returns that.
func socketGroup(t *testing.T, e *examination) uint32 {
	t.Helper()
	path := e.host.path(e.o.Socket)
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Gid
}
