package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// supervisor is systemd, which is told of the daemon's state (sd_notify(3)) if it asks
// for it. Nothing happens under any other.
type supervisor struct {
	log *slog.Logger

	mu    sync.Mutex
	said  string // the status that it knows
	ended bool
}

// ready says that the daemon serves, after its start or a reload.
func (s *supervisor) ready(status string) { s.tell("READY=1", status) }

// reloading says that the daemon reads its configuration, until ready does again. The
// time is what systemd takes to know that this is about its own latest request.
func (s *supervisor) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		s.log.Warn("cannot read the clock", "error", err)
		return
	}
	s.tell(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000), "")
}

// alive feeds the watchdog.
func (s *supervisor) alive() { s.tell("WATCHDOG=1", "") }

// stopping is the last that is said.
func (s *supervisor) stopping() {
	s.tell("STOPPING=1", "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// status shows a line in `systemctl status`.
func (s *supervisor) status(line string) { s.tell("", line) }

func (s *supervisor) tell(state, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	if state != "" {
		lines = append(lines, state)
	}
	if status = strings.Join(strings.Fields(status), " "); status != "" && status != s.said {
		lines = append(lines, "STATUS="+status)
		s.said = status
	}
	if len(lines) == 0 || s.ended {
		return
	}
	if _, err := sdnotify.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		s.log.Warn("cannot tell systemd the daemon's state", "state", state, "error", err)
	}
}

// watchdog is how often systemd wants to hear that the daemon lives; 0: not at all.
func (s *supervisor) watchdog() time.Duration {
	interval, err := sdnotify.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("cannot tell whether systemd watches the daemon, so its watchdog is not fed", "error", err)
	}
	return interval
}
