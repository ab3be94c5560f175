package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/testlab"
)

// watched is WatchdogSec=, of which the daemon checks itself each half.
const watched = 6 * time.Second

// breakage breaks a part of the daemon for real. repair may be called twice; round
// returns when the daemon has checked itself once more.
type breakage func(t *testing.T, at place, p *program) (repair, round func())

// What fails of the daemon's check of itself stops the watchdog's feed, is told to
// everybody, and once it is mended all is well.
func TestWatchdog(t *testing.T) {
	testlab.RequireRoot(t)
	for check, breakIt := range map[string]breakage{
		"socket": takeSocket, "journal": readOnlyJournal, "netlink": deafWatch,
	} {
		t.Run(check, func(t *testing.T) {
			t.Parallel()
			at := newPlace(t, anyPlugin)
			at.rewrite(t, `"metrics":{"listen":"127.0.0.1:9758"},`, "")
			at.stateInMemory(t)
			init := newSystemd(t, at.dir)
			p := run(t, init.env(watched), "server", "-c", at.config)
			init.wait("WATCHDOG=1")
			init.wait("WATCHDOG=1")
			repair, round := breakIt(t, at, p)
			t.Cleanup(repair)
			p.waitFor("check of itself fails")
			if line := lastLine(p.said.String()); !strings.Contains(line, "check="+check) {
				t.Errorf("logged was %s", line)
			}
			init.wait("STATUS=") // of the round that failed, and all before it
			if check != "socket" {
				at.wantFailing(t, check)
			}
			for range 3 {
				round()
			}
			if said := init.said(); len(said) > 0 {
				t.Errorf("systemd was told %q meanwhile", said)
			}
			repair()
			init.wait("WATCHDOG=1")
			if r := at.get(t, "/healthz"); r.Status != http.StatusOK || strings.Contains(string(r.Body), "faults") {
				t.Errorf("mended, it says %d %s", r.Status, r.Body)
			}
		})
	}
}

// wantFailing fails the test unless the daemon tells that the check fails: why, to root.
func (at place) wantFailing(t *testing.T, check string) {
	t.Helper()
	faults := map[string]string{}
	for who, r := range map[string]testlab.Response{
		"root": at.get(t, "/healthz"), "a user": user.Run(t).HTTP(at.socket, testlab.Request{Method: "GET", Path: "/healthz"}),
	} {
		var h api.Health
		if err := json.Unmarshal(r.Body, &h); err != nil {
			t.Fatal(err)
		}
		if r.Status != http.StatusServiceUnavailable || h.Status != api.Failing || len(h.Faults) != 1 {
			t.Fatalf("%s is told %d %s", who, r.Status, r.Body)
		}
		faults[who] = h.Faults[0]
	}
	if !strings.HasPrefix(faults["root"], faults["a user"]+": ") || strings.Contains(faults["a user"], at.dir) {
		t.Errorf("told was %q", faults)
	}
	if v := at.metric(t, fmt.Sprintf("net_porter_self_check_failing{check=%q}", check)); v != "1" {
		t.Errorf("the metric is %q", v)
	}
}

// takeSocket puts another one in the place of the daemon's, on which this process answers.
func takeSocket(t *testing.T, at place, _ *program) (repair, round func()) {
	t.Helper()
	if err := os.Rename(at.socket, at.socket+".moved"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", at.socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	repair = func() {
		l.Close()
		_ = os.Rename(at.socket+".moved", at.socket)
	}
	return repair, func() {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// readOnlyJournal mounts the journal's folder read-only, where the daemon sees it.
func readOnlyJournal(t *testing.T, at place, _ *program) (repair, round func()) {
	t.Helper()
	return readOnly(t, at.dir+"/state/attachments"), func() { at.waitAsked(t) }
}

// stateInMemory has no check of a daemon's fail because a disk takes its time.
func (at place) stateInMemory(t *testing.T) {
	t.Helper()
	dir := at.dir + "/state"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// readOnly makes a folder read-only until repair is called.
func readOnly(t *testing.T, dir string) (repair func()) {
	t.Helper()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	repair = func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		repair()
		t.Fatal(err)
	}
	return repair
}

// deafWatch takes the socket that the daemon hears of namespaces by out of its group.
func deafWatch(t *testing.T, at place, p *program) (repair, round func()) {
	t.Helper()
	fd := stealWatch(t, p.cmd.Process.Pid)
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, unix.RTNLGRP_NSID); err != nil {
		t.Fatal(err)
	}
	repair = func() {
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_NSID)
	}
	return repair, func() { at.waitAsked(t) }
}

// stealWatch returns a descriptor of the socket of a process that is in the group
// (pidfd_getfd(2)).
func stealWatch(t *testing.T, pid int) int {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n, _ := strconv.Atoi(e.Name())
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue
		}
		if own, err := unix.Getsockname(fd); err == nil {
			if a, ok := own.(*unix.SockaddrNetlink); ok && a.Groups == 1<<(unix.RTNLGRP_NSID-1) {
				return fd
			}
		}
		unix.Close(fd)
	}
	t.Fatal("the daemon has no socket that hears of namespaces")
	return -1
}

// waitAsked returns when the daemon has asked itself how it is once more.
func (at place) waitAsked(t *testing.T) {
	t.Helper()
	const asked = `net_porter_requests_total{code="ok",operation="healthz"}`
	before := at.metric(t, asked)
	for at.metric(t, asked) == before {
		if t.Context().Err() != nil {
			t.Fatal("the daemon does not check itself")
		}
	}
}

// A daemon that is started while its disk is read-only keeps what runs, tells what is
// wrong, and goes on when it can write again.
func TestStartOnReadOnlyState(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, anyPlugin)
	at.rewrite(t, `"metrics":{"listen":"127.0.0.1:9758"},`, "")
	p := run(t, nil, "server", "-c", at.config)
	p.waitFor("is ready")
	c := newContainer(t)
	if r := c.post(at, "lan/attach", "eth0"); r.Status != http.StatusOK {
		t.Fatalf("attach: %d %s", r.Status, r.Body)
	}
	_ = p.cmd.Process.Kill() // which leaves everything as it was
	p.end()
	repair := readOnly(t, at.dir+"/state")
	t.Cleanup(repair)
	init := newSystemd(t, at.dir)
	run(t, init.env(watched), "server", "-c", at.config)
	init.wait("journal")
	at.wantFailing(t, "journal")
	if list := at.attachments(t, at.socket); !strings.Contains(list, c.id) {
		t.Errorf("attached are %s", list)
	}
	if r := c.post(at, "lan/attach", "eth1"); r.Status < 400 {
		t.Errorf("attach: %d %s", r.Status, r.Body)
	}
	repair()
	init.wait("STATUS=1 attachments, 1 resources")
	if r := c.post(at, "lan/detach", "eth0"); r.Status != http.StatusNoContent {
		t.Errorf("detach: %d %s", r.Status, r.Body)
	}
}

// The kernel names the daemon to who connects, also to the socket that systemd has made.
func TestWatchdogOfPassedSocket(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, anyPlugin)
	at.rewrite(t, `"metrics":{"listen":"127.0.0.1:9758"},`, "")
	init := newSystemd(t, at.dir)
	socket := passedSocket(t, at.socket)
	for range 2 { // the second one after another daemon
		p := runWith(t, socket, at, init.env(watched)...)
		init.wait("WATCHDOG=1")
		if v := at.metric(t, `net_porter_self_check_failing{check="socket"}`); v != "0" {
			t.Errorf("the metric is %q; %s", v, at.get(t, "/healthz").Body)
		}
		_ = p.cmd.Process.Signal(unix.SIGTERM)
		p.end()
	}
}

// What a start does not mend is told, but does not have the daemon started over and
// over.
func TestWatchdogOfWhatNeverWorked(t *testing.T) {
	testlab.RequireRoot(t)
	at := newPlace(t, anyPlugin)
	at.rewrite(t, `"metrics":{"listen":"127.0.0.1:9758"},`, "")
	init := newSystemd(t, at.dir)
	if err := os.MkdirAll(at.dir+"/state/attachments", 0o700); err != nil {
		t.Fatal(err)
	}
	repair, _ := readOnlyJournal(t, at, nil)
	defer repair()
	run(t, init.env(watched), "server", "-c", at.config)
	for range 3 {
		init.wait("WATCHDOG=1")
	}
	at.wantFailing(t, "journal")
}
