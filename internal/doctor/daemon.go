package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/unixdial"
	"github.com/net-porter/net-porter/internal/version"
)

const (
	// answerTime is how long the daemon's answers are waited for.
	answerTime = 5 * time.Second
	maxAnswer  = 4 << 20
	systemctl  = "/usr/bin/systemctl"
	journalctl = "/usr/bin/journalctl"
	socketUnit = "net-porter.socket"
	daemonUnit = "net-porter.service"
)

// offer is a network that the daemon offers to who asks.
type offer = api.Network

// daemon looks whether there is one, and whether it is well.
func (e *examination) daemon(ctx context.Context) {
	e.area = "Daemon"
	st, err := os.Stat(e.host.path(e.o.Socket))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.add(Problem, "daemon.socket", "there is no socket "+e.o.Socket, e.units(ctx))
		return
	case err != nil:
		e.add(Problem, "daemon.socket", fmt.Sprintf("cannot look at the socket %s: %v", e.o.Socket, err), "")
		return
	case st.Mode()&fs.ModeSocket == 0:
		e.add(Problem, "daemon.socket", e.o.Socket+" is no socket", "move it away; then: systemctl restart "+socketUnit)
		return
	}
	var health api.Health
	switch err := e.get(ctx, "/healthz", &health); {
	case errors.Is(err, unix.EACCES):
		e.refused = true
		e.unknown("daemon.answer", "whether the daemon answers is not seen by who may not connect to %s", e.o.Socket)
		return
	case errors.Is(err, unix.ECONNREFUSED):
		e.add(Problem, "daemon.answer", "nobody listens on "+e.o.Socket, e.units(ctx))
		return
	case err != nil:
		e.add(Problem, "daemon.answer", fmt.Sprintf("the daemon does not answer on %s: %v", e.o.Socket, err), e.units(ctx))
		return
	}
	e.said, e.version = true, health.Version
	e.ok("daemon.answer", "the daemon answers on %s (version %s)", e.o.Socket, health.Version)
	if len(health.Faults) == 0 {
		e.ok("daemon.health", "it finds nothing wrong with itself")
	}
	for _, fault := range health.Faults {
		result := Warning
		if health.Status != "ok" {
			result = Problem
		}
		e.add(result, "daemon.health", "the daemon says of itself: "+fault, "as root: journalctl -u net-porter -x -n 50")
	}
	if health.Version != "" && health.Version != version.String() {
		e.add(Warning, "daemon.version", fmt.Sprintf("the daemon is version %s, and this program %s", health.Version, version.String()),
			"after an upgrade: systemctl restart "+daemonUnit)
	}
}

// units says what to do about a daemon that is not there, by what systemd says of it.
func (e *examination) units(ctx context.Context) string {
	const start = "systemctl enable --now " + socketUnit
	said, err := e.host.ask(ctx, systemctl, "show", "-p", "LoadState,ActiveState,UnitFileState", "--value", socketUnit)
	if err != nil {
		return "as root: " + start
	}
	state := strings.Fields(said) // in systemd's own order
	switch {
	case slices.Contains(state, "not-found"):
		return "net-porter is not installed on this host, or not for systemd: install its package, then as root: " + start
	case slices.Contains(state, "masked"):
		return "as root: systemctl start " + daemonUnit + " (" + socketUnit + " is masked, so that the daemon makes the socket), and if it fails: journalctl -u net-porter -n 20"
	}
	service, err := e.host.ask(ctx, systemctl, "show", "-p", "ActiveState", "--value", daemonUnit)
	switch failed := err == nil && strings.TrimSpace(service) == "failed"; {
	case failed:
		return "the daemon has failed; as root: net-porter check, journalctl -u net-porter -n 20, then systemctl restart " + socketUnit + e.lastWords(ctx)
	case slices.Contains(state, "active"):
		return "systemd has the socket, and the daemon does not get ready; as root: net-porter check, journalctl -u net-porter -n 20" + e.lastWords(ctx)
	}
	return "as root: " + start
}

// lastWords is what the daemon logged last, for root, who may read that.
func (e *examination) lastWords(ctx context.Context) string {
	if !e.host.asRoot {
		return ""
	}
	said, err := e.host.ask(ctx, journalctl, "-q", "-u", daemonUnit, "-n", "1", "-o", "cat", "--no-pager")
	if said = lastLine(strings.TrimSpace(said)); err != nil || said == "" {
		return ""
	}
	return ". The last that is logged: " + quoted(said)
}

// get asks the daemon, and reads its answer into v.
func (e *examination) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return unixdial.Dial(ctx, e.host.path(e.o.Socket))
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("it says nothing within %s", answerTime)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	var problem api.Problem
	if json.Unmarshal(body, &problem) == nil && problem.Code != "" {
		return fmt.Errorf("%s (%s)", problem.Detail, problem.Code)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("its answer is not that of a net-porter daemon: %w", err)
	}
	return nil
}
