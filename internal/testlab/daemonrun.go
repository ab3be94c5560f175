package testlab

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stopBound is how long a daemon may take to stop: attaches in flight are finished,
// each with the default cni.timeout and its undo.
const stopBound = 90 * time.Second

// Start starts the daemon, also after Stop or Kill, and returns when it has told
// systemd that it is ready (sd_notify(3)).
func (d *Daemon) Start() {
	d.t.Helper()
	if d.child != nil {
		d.t.Fatal("testlab: the daemon is running already")
	}
	path := filepath.Join(d.dir, "notify")
	_ = os.Remove(path) // of the last start
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(d.t, err)
	cmd := exec.Command(d.program, "server", "-c", d.configFile())
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	d.mark = d.log.size()
	d.child, err = startChild(nil, cmd, d.log)
	if err != nil {
		notify.Close()
		d.t.Fatalf("testlab: cannot start the daemon: %v", err)
	}
	ended, ready := d.child.ended, make(chan struct{})
	go func() { <-ended; notify.Close() }()
	go listenReady(notify, ready)
	select {
	case <-ready:
	case <-ended:
		err := d.child.err
		d.child = nil
		d.t.Fatalf("testlab: the daemon ended before it was ready: %v; its log:\n%s", err, d.log.tail())
	case <-time.After(waitBound):
		d.Kill()
		d.t.Fatalf("testlab: the daemon was not ready within %s; its log:\n%s", waitBound, d.log.tail())
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

// Kill ends the daemon with SIGKILL, and returns when it is gone; nothing happens if
// it is not running. CNI plugins that it runs live on, which systemd would end.
func (d *Daemon) Kill() {
	if d.child == nil {
		return
	}
	_ = d.child.end(unix.SIGKILL, stopBound)
	d.child = nil
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
