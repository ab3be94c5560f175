package attachment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

const conflist = `{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"macvlan","master":"infra","ipam":{"type":"static"}}]}`

// open starts a daemon on what an earlier one has left. A runner without a world gets
// a new one.
func open(t *testing.T, dir string, r *runner) *Manager {
	t.Helper()
	if r.world == nil {
		r.world = &world{id: someID}
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	leases, err := dhcp.NewService(dhcp.Options{SocketPath: "/nowhere", LeaseDir: filepath.Join(dir, "leases")})
	if err != nil {
		t.Fatal(err)
	}
	journal, err := OpenJournal(filepath.Join(dir, "attachments"), log)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewManager(Options{
		Journal: journal, Runner: r, Leases: leases, LeaseSocket: "/nowhere", Namespaces: r.world, Finder: nowhere{}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// namespace opens one of a user's, as the server does.
func namespace(t *testing.T) *netns.Namespace {
	t.Helper()
	u := testlab.User{UID: 1000, GID: 1000}
	s, path := u.Sandbox(t), u.Dir(t)+"/netns"
	s.PersistNetns(path)
	opener, err := netns.NewOpener()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := opener.Open(context.Background(), netns.Caller{UID: 1000, GID: 1000, PID: s.PID(), Alive: func() error { return nil }}, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func request(t *testing.T, ns *netns.Namespace) Request {
	t.Helper()
	network, err := cni.Parse("lan", []byte(conflist))
	if err != nil {
		t.Fatal(err)
	}
	return Request{Key: Key{UID: 1000, ContainerID: "c1", Interface: "eth0"}, Resource: "lan", Network: network, Namespace: ns}
}

// later has every removal that has failed be due.
func later(m *Manager) {
	at := m.now().Add(lastRetry)
	m.now = func() time.Time { return at }
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "attachments"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// The record stands before the first plugin runs, and what a crash leaves is undone
// by the next daemon.
func TestCrashDuringAddIsUndoneAtStart(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	var during []string
	crash := errors.New("crash")
	first := &runner{
		add: func() error { during = files(t, dir); return crash },
		del: func() error { return crash }, // the daemon is gone before it can undo
	}
	if _, err := open(t, dir, first).Attach(context.Background(), request(t, namespace(t))); !errors.Is(err, crash) {
		t.Fatalf("attach: %v", err)
	}
	if want := []string{"1000.c1@eth0.json"}; !slices.Equal(during, want) {
		t.Fatalf("while ADD ran the journal held %v, want %v", during, want)
	}
	second := &runner{world: &world{id: someID, dead: true}}
	m := open(t, dir, second)
	settle(m, m.recover)
	if want := []string{"DEL 1000.c1 eth0 without a namespace"}; !slices.Equal(second.calls, want) {
		t.Errorf("the next daemon ran %v, want %v", second.calls, want)
	}
	if left := files(t, dir); len(left) > 0 || len(m.List()) > 0 {
		t.Errorf("left in the journal: %v", left)
	}
}

// What is attached stays so over a restart, and is detached by its record.
func TestAttachedOutlivesARestart(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	ns := namespace(t)
	if _, err := open(t, dir, &runner{}).Attach(context.Background(), request(t, ns)); err != nil {
		t.Fatal(err)
	}
	r := &runner{}
	m := open(t, dir, r)
	settle(m, m.recover)
	key := request(t, ns).Key
	rec, ok := m.Get(key)
	if !ok || rec.State != Attached || rec.Result == nil || len(rec.MACs()) != 1 {
		t.Fatalf("after the restart: %+v", rec)
	}
	if strings.Contains(string(rec.Config), "/nowhere") {
		t.Error("the record keeps the lease socket's path of this run")
	}
	if err := m.Detach(context.Background(), key, ns); err != nil {
		t.Fatal(err)
	}
	if want := []string{"DEL 1000.c1 eth0 inside"}; !slices.Equal(r.calls, want) {
		t.Errorf("ran %v, want %v", r.calls, want)
	}
}

// A DEL that fails is owed: the record stays until it works.
func TestFailedDetachIsOwed(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	ns := namespace(t)
	r := &runner{}
	m := open(t, dir, r)
	key := request(t, ns).Key
	if _, err := m.Attach(context.Background(), request(t, ns)); err != nil {
		t.Fatal(err)
	}
	r.del = func() error { return errors.New("not now") }
	if err := m.Detach(context.Background(), key, ns); err == nil {
		t.Fatal("a failed detach is called done")
	}
	if rec, ok := m.Get(key); !ok || rec.State != FailedDetach || rec.Failure.Error != "not now" {
		t.Fatalf("the record: %+v", rec)
	}
	r.del = nil
	m = open(t, dir, r)
	settle(m, m.sweep)
	if len(m.List()) != 1 {
		t.Error("it was tried again before its time")
	}
	later(m)
	settle(m, m.sweep)
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left in the journal: %v", left)
	}
}

// Another namespace than the recorded one is never touched, whoever presents it.
func TestDetachLeavesOtherNamespacesAlone(t *testing.T) {
	testlab.RequireRoot(t)
	r := &runner{}
	m := open(t, t.TempDir(), r)
	q := request(t, namespace(t))
	if _, err := m.Attach(context.Background(), q); err != nil {
		t.Fatal(err)
	}
	if err := m.Detach(context.Background(), q.Key, namespace(t)); err != nil {
		t.Fatal(err)
	}
	if want := "DEL 1000.c1 eth0 without a namespace"; r.calls[len(r.calls)-1] != want {
		t.Errorf("ran %q, want %q", r.calls[len(r.calls)-1], want)
	}
	// But the interface goes from the recorded one, where it would use an address that
	// is somebody else's now.
	if got, want := r.world.deleted, []string{fmt.Sprint(someID, " 2")}; !slices.Equal(got, want) {
		t.Errorf("removed links %v, want %v", got, want)
	}
}

// What died while the daemon was away is released when it is back; what lives stays.
func TestSweepReleasesTheDead(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	if _, err := open(t, dir, &runner{}).Attach(context.Background(), request(t, namespace(t))); err != nil {
		t.Fatal(err)
	}
	r := &runner{}
	m := open(t, dir, r)
	settle(m, m.sweep)
	if len(m.List()) != 1 || len(r.calls) > 0 {
		t.Fatalf("an attachment whose namespace lives was released: %v", r.calls)
	}
	r.world.dead = true
	settle(m, m.sweep)
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left in the journal: %v", left)
	}
	if want := []string{"DEL 1000.c1 eth0 without a namespace"}; !slices.Equal(r.calls, want) {
		t.Errorf("ran %v, want %v", r.calls, want)
	}
}

// A reboot takes every namespace, whatever ids the new boot gives.
func TestSweepReleasesWhatWasBeforeTheBoot(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	r := &runner{}
	m := open(t, dir, r)
	if _, err := m.Attach(context.Background(), request(t, namespace(t))); err != nil {
		t.Fatal(err)
	}
	m.boot = "another"
	settle(m, m.sweep)
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left in the journal: %v", left)
	}
	if got := r.world.deleted; len(got) > 0 {
		t.Errorf("links were removed by an id of the boot before: %v", got)
	}
}

// An attachment that is replaced while it is looked at is not the one that was due.
func TestReapLeavesSuccessorsAlone(t *testing.T) {
	testlab.RequireRoot(t)
	m := open(t, t.TempDir(), &runner{})
	q := request(t, namespace(t))
	seen, err := m.Attach(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	q.Namespace = namespace(t)
	if _, err := m.Attach(context.Background(), q); err != nil {
		t.Fatal(err)
	}
	m.release(context.Background(), seen)
	if len(m.List()) != 1 {
		t.Error("the successor was released")
	}
}

// Who undoes an attach of which the caller has gone may have waited for the container's
// next start, whose attachment stays. So does one that was made after a revocation.
func TestDetachRecordLeavesSuccessorsAlone(t *testing.T) {
	testlab.RequireRoot(t)
	m := open(t, t.TempDir(), &runner{})
	q := request(t, namespace(t))
	first, err := m.Attach(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	past := q.Namespace
	q.Namespace = namespace(t)
	second, err := m.Attach(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.DetachRecord(context.Background(), first, past); err != nil {
		t.Fatal(err)
	}
	if len(m.List()) != 1 {
		t.Fatal("the successor was removed")
	}
	if err := m.DetachRecord(context.Background(), second, q.Namespace); err != nil {
		t.Fatal(err)
	}
	if left := m.List(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A journal that cannot be written means no attachment, not one without a record.
func TestNoRecordNoAttachment(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	r := &runner{}
	m := open(t, dir, r)
	if err := os.RemoveAll(filepath.Join(dir, "attachments")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Attach(context.Background(), request(t, namespace(t))); !errors.Is(err, ErrJournal) {
		t.Errorf("attach: %v, want %v", err, ErrJournal)
	}
	if len(r.calls) > 0 {
		t.Errorf("plugins ran: %v", r.calls)
	}
}
