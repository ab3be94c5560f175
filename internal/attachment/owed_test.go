package attachment

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/testlab"
)

// A daemon that was killed in the middle of ADD finds the link by the record's id of
// the namespace, under whatever name a plugin or a user has left it.
func TestCrashDuringAddLeavesNoLink(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	crash := errors.New("crash")
	first := &runner{
		adding: func(context.Context) error { return crash },
		del:    func() error { return crash }, // the daemon is gone before it can undo
	}
	m := open(t, dir, first)
	m.namespaces = unreachable{first.world}
	first.world.addLink("theirs")
	q := request(t, namespace(t))
	if _, err := m.Attach(context.Background(), q); !errors.Is(err, crash) {
		t.Fatalf("attach: %v", err)
	}
	first.world.change(func(w *world) { w.rename("eth0", "veth1234") })
	second := &runner{world: first.world}
	m = open(t, dir, second)
	settle(m, m.recover)
	if got, want := first.world.names(), []string{"theirs"}; !slices.Equal(got, want) {
		t.Errorf("links left: %v, want %v", got, want)
	}
	// Its user may have hidden one, so that the address is not free before the end.
	for range 2 {
		settle(m, m.sweep)
	}
	if len(m.List()) != 1 || len(second.calls) > 0 {
		t.Errorf("records %v, plugins ran: %v", m.List(), second.calls)
	}
	first.world.dead = true
	settle(m, m.sweep)
	if len(m.List()) != 0 || len(second.calls) != 1 {
		t.Errorf("after the end: records %v, plugins ran: %v", m.List(), second.calls)
	}
}

// What a crash has left hidden is found when the namespace is shown again.
func TestHiddenAfterACrash(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	crash := errors.New("crash")
	first := &runner{adding: func(context.Context) error { return crash }, del: func() error { return crash }}
	m := open(t, dir, first)
	m.namespaces = unreachable{first.world}
	q := request(t, namespace(t))
	if _, err := m.Attach(context.Background(), q); !errors.Is(err, crash) {
		t.Fatalf("attach: %v", err)
	}
	first.world.change(func(w *world) { w.rename("eth0", "mine"); w.hidden = true })
	m = open(t, dir, &runner{world: first.world})
	settle(m, m.recover)
	mustAttach(t, m, q)
	if got, want := first.world.names(), []string{"eth0"}; !slices.Equal(got, want) {
		t.Errorf("links are %v, want %v", got, want)
	}
}

// Once no link is left, what plugins owe is tried again without the namespace.
func TestFailedUndoIsOwed(t *testing.T) {
	testlab.RequireRoot(t)
	failed := errors.New("not now")
	r := &runner{adding: func(context.Context) error { return failed }, deleting: func(context.Context) error { return failed }}
	m := open(t, t.TempDir(), r)
	if _, err := m.Attach(context.Background(), request(t, namespace(t))); !errors.Is(err, failed) || len(m.List()) != 1 {
		t.Fatalf("attach: %v, records %v", err, m.List())
	}
	r.deleting = nil
	later(m)
	settle(m, m.sweep)
	if len(m.List()) > 0 {
		t.Errorf("left: %v", m.List())
	}
}

// unreachable is a world from which nothing can be removed.
type unreachable struct{ *world }

func (unreachable) DeleteLink(int32, int) error { return errors.New("not now") }

// A link that cannot be removed is owed, with its address and its record.
func TestLinkThatStaysIsOwed(t *testing.T) {
	testlab.RequireRoot(t)
	r := &runner{}
	m := open(t, t.TempDir(), r)
	q := request(t, namespace(t))
	mustAttach(t, m, q)
	m.namespaces = unreachable{r.world}
	for _, ns := range []*netns.Namespace{q.Namespace, nil} {
		if err := m.Detach(context.Background(), q.Key, ns); err == nil {
			t.Error("detach: no error")
		}
		if record, ok := m.Get(q.Key); !ok || record.State != FailedDetach {
			t.Errorf("the record is %+v", record)
		}
	}
	m.namespaces = r.world
	later(m)
	settle(m, m.sweep)
	if len(m.List()) > 0 || len(r.world.names()) > 0 {
		t.Errorf("left are records %v, links %v", m.List(), r.world.names())
	}
}

// What was owed when the daemon ended is tried at once by the next one.
func TestOwedIsTriedAtStart(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	r := &runner{}
	m := open(t, dir, r)
	q := request(t, namespace(t))
	mustAttach(t, m, q)
	r.del = func() error { return errors.New("not now") }
	if err := m.Detach(context.Background(), q.Key, nil); err == nil {
		t.Fatal("detach: no error")
	}
	r.del = nil
	m = open(t, dir, r)
	settle(m, m.recover)
	if len(m.List()) > 0 {
		t.Errorf("left: %v", m.List())
	}
}

// Nobody has to ask: the daemon tries again by itself, and its owner sees why meanwhile.
func TestOwedIsTriedAgainByItself(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	r := &runner{}
	m := open(t, t.TempDir(), r)
	q := request(t, namespace(t))
	mustAttach(t, m, q)
	released := make(chan error, 1)
	m.released = func(_ string, err error) { released <- err }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	var tries []Failure
	r.del = func() error {
		if record, _ := m.Get(q.Key); record.Failure != nil {
			tries = append(tries, *record.Failure)
			return nil
		}
		return errors.New("not now")
	}
	if err := m.Detach(context.Background(), q.Key, q.Namespace); err == nil {
		t.Fatal("detach: no error")
	}
	if got := m.FailedCounts(); got["lan"] != 1 {
		t.Errorf("counted as failed: %v", got)
	}
	if err := <-released; err != nil || len(m.List()) > 0 {
		t.Errorf("tried again: %v, left: %v", err, m.List())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(tries) != 1 || tries[0].Attempts != 1 || tries[0].Error != "not now" {
		t.Errorf("what was known of the failure: %+v", tries)
	}
}

// A disk that is full, or read-only, keeps nothing from being removed; the record goes
// once it can.
func TestFullDiskKeepsNothing(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	r := &runner{}
	m := open(t, dir, r)
	q := request(t, namespace(t))
	mustAttach(t, m, q)
	folder, aside := filepath.Join(dir, "attachments"), filepath.Join(dir, "aside")
	if err := os.Rename(folder, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil { // neither a record can be written nor removed
		t.Fatal(err)
	}
	if err := m.Detach(context.Background(), q.Key, q.Namespace); !errors.Is(err, ErrJournal) {
		t.Fatalf("detach: %v, want %v", err, ErrJournal)
	}
	if record, ok := m.Get(q.Key); !ok || record.State != FailedDetach || len(r.world.names()) > 0 {
		t.Errorf("the record is %+v, left are links %v", record, r.world.names())
	}
	if err := errors.Join(os.Remove(folder), os.Rename(aside, folder)); err != nil {
		t.Fatal(err)
	}
	later(m)
	settle(m, m.sweep)
	if left := files(t, dir); len(left) > 0 || len(m.List()) > 0 {
		t.Errorf("left in the journal: %v", left)
	}
}
