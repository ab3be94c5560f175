package attachment

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// Files that are no records are kept for somebody to look at, and hinder nobody.
func TestJournalWithStrangeFiles(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, &runner{})
	strange := map[string]string{
		"1000.a@eth0.json": "",
		"1000.b@eth0.json": "{",
		"1000.c@eth0.json": `{"version":1,"uid":0,"container_id":"c","interface":"eth0","resource":"lan","state":"attached","config":{}}`,
		"1000.d@eth0.json": `{"version":99,"uid":1000,"container_id":"d","interface":"eth0","resource":"lan","state":"attached","config":{}}`,
		"1000.e@eth0.json": `{"version":1,"uid":1000,"container_id":"e","interface":"eth0","resource":"lan","state":"happy","config":{}}`,
		"README":           "hands off",
	}
	for name, content := range strange {
		if err := os.WriteFile(filepath.Join(dir, "attachments", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := open(t, dir, &runner{})
	settle(m, m.recover)
	if len(m.List()) != 0 {
		t.Errorf("records were made of them: %v", m.List())
	}
	if left := files(t, dir); len(left) != len(strange) {
		t.Errorf("left are %v", left)
	}
}

// An attachment under the key of such a file does not take the file's place.
func TestStrangeFilesAreNotReplaced(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	open(t, dir, &runner{})
	q := request(t, namespace(t))
	path := filepath.Join(dir, "attachments", q.Key.String()+".json")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &runner{}
	m := open(t, dir, r)
	_, err := m.Attach(context.Background(), q)
	if !errors.Is(err, ErrJournal) || !strings.Contains(err.Error(), path) {
		t.Errorf("attach: %v, want %v with %s", err, ErrJournal, path)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "precious" || len(r.calls) > 0 {
		t.Errorf("the file is %q, %v; plugins ran: %v", got, err, r.calls)
	}
	// Once somebody has looked at it, all is as ever, without a restart.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := m.Attach(context.Background(), q); err != nil {
			t.Fatal(err)
		}
		if err := m.Detach(context.Background(), q.Key, q.Namespace); err != nil {
			t.Fatal(err)
		}
	}
}

// Who has which container, and with what, is nobody else's business: no record is
// ever where others can look.
func TestJournalKeepsToItsFolder(t *testing.T) {
	dir, shared := t.TempDir(), t.TempDir() // of one file system, where files can be moved
	t.Setenv("TMPDIR", shared)
	events, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(events)
	if _, err := unix.InotifyAddWatch(events, shared, unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Write(&Record{Key: Key{UID: 1000, ContainerID: "c1", Interface: "eth0"}}); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Read(events, make([]byte, 4096)); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("files were made in %s: %d bytes of events, %v", shared, n, err)
	}
}
