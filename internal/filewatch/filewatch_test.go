package filewatch

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// watched is a folder of the test's own, in which files that end in .json matter.
type watched struct {
	*Watcher
	t       *testing.T
	dir     string
	changes chan struct{}
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{t: t, dir: t.TempDir(), changes: make(chan struct{}, 100)}
	isJSON := func(name string) bool { return strings.HasSuffix(name, ".json") }
	folders := func() []Folder { return []Folder{{w.dir, isJSON}, {filepath.Join(w.dir, "more", "d"), isJSON}} }
	watcher, err := New(folders, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	w.Watcher = watcher
	var running sync.WaitGroup
	running.Go(func() { watcher.Run(t.Context(), func() { w.changes <- struct{}{} }) })
	t.Cleanup(running.Wait)
	return w
}

func (w *watched) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// replace is write in one step: on a disk that takes its time, the other may be two changes.
func (w *watched) replace(name, text string) {
	w.t.Helper()
	w.write(name+".new", text)
	if err := os.Rename(filepath.Join(w.dir, name+".new"), filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) wantChange(what string) {
	w.t.Helper()
	select {
	case <-w.changes:
	case <-time.After(30 * time.Second):
		w.t.Fatalf("nobody was told of %s", what)
	}
}

// Each way to change a file is told, and what is no change is not.
func TestChanges(t *testing.T) {
	t.Parallel()
	w := watch(t)
	path := filepath.Join(w.dir, "a.json")
	w.replace("a.json", "1")
	w.wantChange("a new file")
	w.write("a.json", "1")
	w.write("a.txt", "1")
	w.write("a.json", "2")
	w.wantChange("a written file")
	w.replace("a.json", "3")
	w.wantChange("a file put in its place")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	w.wantChange("a file that others may write")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.wantChange("a removed file")
	if err := os.MkdirAll(filepath.Join(w.dir, "more", "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.wantChange("a folder that was not there")
	w.replace("more/d/b.json", "1")
	w.wantChange("a file in it")
	select {
	case <-w.changes:
		t.Error("one change was told twice, or one that was none")
	default:
	}
}

// Many writes one after the other are few changes, and the last one is always told.
func TestWritesAreTakenTogether(t *testing.T) {
	t.Parallel()
	w := watch(t)
	began := time.Now()
	for range 200 {
		w.write("a.json", "x")
		w.write("b.json", "y")
		w.write("a.json", "")
	}
	w.write("a.json", "the last")
	w.wantChange("the last write")
	if n := len(w.changes); n > 20+int(time.Since(began)/rest) {
		t.Errorf("200 writes were told as %d more changes", n)
	}
}

// What somebody has read for another reason is not told.
func TestSeen(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.replace("a.json", "1")
	w.Seen()
	w.replace("b.json", "2")
	w.wantChange("what came after that")
	w.Seen()
	w.replace("b.json", "3")
	w.wantChange("what came after that, too")
	if n := len(w.changes); n > 0 {
		t.Errorf("%d changes more were told", n)
	}
}
