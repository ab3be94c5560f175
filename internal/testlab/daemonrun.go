package testlab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/faultpoint"
)

// stopBound is how long a daemon may take to stop: attaches in flight are finished,
// each with the default cni.timeout and its undo.
const stopBound = 90 * time.Second

// Start starts the daemon, also after Stop or Kill, and returns when it has told
// systemd that it is ready (sd_notify(3)).
func (d *Daemon) Start() {
	d.t.Helper()
	if err := d.TryStart(); err != nil {
		d.t.Fatalf("testlab: %v; its log:\n%s", err, d.log.tail())
	}
}

// TryStart is Start for a daemon that may end before it is ready, which is an error.
func (d *Daemon) TryStart() error {
	d.t.Helper()
	if d.child != nil {
		d.t.Fatal("testlab: the daemon is running already")
	}
	path := filepath.Join(d.dir, "notify")
	_ = os.Remove(path) // of the last start
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(d.t, err)
	cmd := exec.Command(d.program, "server", "-c", d.configFile())
	// Only of a daemon with the race detector: without it, that waits a second before it ends.
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, faultpoint.DirEnv+"="+d.faults, "GORACE=atexit_sleep_ms=0")
	d.mark = d.log.size()
	d.child, err = startChild(nil, cmd, d.log)
	if err != nil {
		notify.Close()
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	ended, ready := d.child.ended, make(chan struct{})
	go func() { <-ended; notify.Close() }()
	go listenReady(notify, ready)
	select {
	case <-ready:
		return nil
	case <-ended:
		err := d.child.err
		d.Kill()
		return fmt.Errorf("the daemon ended before it was ready: %w", err)
	case <-time.After(waitBound):
		d.Kill()
		return fmt.Errorf("the daemon was not ready within %s", waitBound)
	}
}

// listenReady closes ready when the daemon is, and then reads on, as the daemon also
// tells when it stops.
func listenReady(notify *net.UnixConn, ready chan<- struct{}) {
	said := false
	for message := make([]byte, 4096); ; {
		n, err := notify.Read(message)
		if err != nil {
			return
		}
		if !said && strings.Contains(string(message[:n]), "READY=1") {
			close(ready)
			said = true
		}
	}
}

// Stop ends the daemon with SIGTERM, as systemd does, and returns when it is gone.
// Nothing happens if it is not running.
func (d *Daemon) Stop() {
	d.t.Helper()
	if d.child == nil {
		return
	}
	c := d.child
	d.child = nil
	select {
	case <-c.ended:
		d.t.Errorf("testlab: the daemon ended by itself (%v); its log:\n%s", c.err, d.log.tail())
		return
	default:
	}
	if err := c.end(unix.SIGTERM, stopBound); err != nil {
		d.t.Errorf("testlab: the daemon did not stop well: %v; its log:\n%s", err, d.log.tail())
	}
}

// raceReport is the first line of what the race detector has to say.
const raceReport = "WARNING: DATA RACE"

// noRaces fails the test if the race detector has found a race in the daemon. The log
// tells it also of a daemon that was killed, whose exit status does not.
func (d *Daemon) noRaces() {
	d.t.Helper()
	if _, report, found := strings.Cut(d.Log(), raceReport); found {
		d.t.Errorf("testlab: the daemon has a race:\n%s", report[:min(len(report), 8192)])
	}
}

// Kill ends the daemon with SIGKILL, and returns when it is gone; nothing happens if
// it is not running. CNI plugins that it runs live on; see KillWhole.
func (d *Daemon) Kill() {
	if d.child == nil {
		return
	}
	_ = d.child.end(unix.SIGKILL, stopBound)
	d.child = nil
}

// KillWhole is Kill for the daemon and all that it runs, as systemd does with what a
// service leaves behind (KillMode=, systemd.kill(5)).
func (d *Daemon) KillWhole() {
	if d.child == nil {
		return
	}
	session := d.child.cmd.Process.Pid
	d.Kill()
	for left := processesOf(session); len(left) > 0; left = processesOf(session) {
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// Ended is closed when the daemon, which must be running, has ended in any way.
func (d *Daemon) Ended() <-chan struct{} { d.t.Helper(); return d.running().ended }

// Processes are the daemon and all that it has started and that lives.
func (d *Daemon) Processes() (pids []int) { d.t.Helper(); return processesOf(d.PID()) }

// processesOf are the living processes of a session (proc_pid_stat(5)).
func processesOf(session int) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(text), ") ") // what a name may have in it comes before
		fields := strings.Fields(rest)
		if len(fields) > 3 && fields[0] != "Z" && fields[3] == strconv.Itoa(session) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Restart is Stop and Start.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.Stop()
	d.Start()
}

// Log is what the daemon has logged so far, over all its starts.
func (d *Daemon) Log() string { return d.log.String() }

// WaitLog returns when the daemon has logged text since it was last started.
func (d *Daemon) WaitLog(text string) {
	d.t.Helper()
	if !d.log.wait(d.mark, nil, contains(text)) {
		d.t.Fatalf("testlab: the daemon did not log %q within %s; its log:\n%s", text, waitBound, d.log.tail())
	}
}
