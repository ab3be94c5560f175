// Package filewatch tells when files in some folders have changed and come to rest, by
// inotify(7) and by what is in them: a write that changes nothing is no change.
package filewatch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// How long files have to be at rest before a change is told, and how long one is kept
// back at most where they never are.
const (
	rest    = 300 * time.Millisecond
	restMax = 3 * time.Second
)

// lookEvery is how often is looked without a message of the kernel: one may be lost, and a
// network file system sends none.
const lookEvery = time.Minute

// maxFile bounds what is read of a file, in bytes.
const maxFile = 1 << 20

// Folder is a folder of which some files are of interest. It need not exist.
type Folder struct {
	Path string
	// Matches says by its name whether a file is one of them; nil: none is.
	Matches func(name string) bool
}

// Watcher looks after files.
type Watcher struct {
	notify  *fsnotify.Watcher
	folders func() []Folder
	log     *slog.Logger

	mu   sync.Mutex
	seen fingerprint
}

// New begins to watch: from here on no change is missed. Folders are what is watched at a
// time; they may become others.
func New(folders func() []Folder, log *slog.Logger) (*Watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("cannot watch files for changes: %w", err)
	}
	w := &Watcher{notify: notify, folders: folders, log: log}
	w.follow()
	w.Seen()
	return w, nil
}

// Seen says that the files as they are now are known: no change before this is told. It is
// for whoever reads them for another reason, and to be called before.
func (w *Watcher) Seen() {
	now := w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = now
}

// isNew says whether the files are not as they were seen last, and takes them for seen.
func (w *Watcher) isNew() bool {
	now := w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.seen
	w.seen = now
	return now != was
}

// Run calls changed, one call after the other, when a matching file of the folders has
// been written, made, removed or replaced since New, Seen or the last call, until ctx
// ends. It is to be called once, and closes the Watcher.
func (w *Watcher) Run(ctx context.Context, changed func()) {
	defer w.notify.Close()
	resting, looking := time.NewTimer(rest), time.NewTicker(lookEvery)
	defer resting.Stop()
	defer looking.Stop()
	var since time.Time // the first message that is not dealt with yet
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if since.IsZero() {
				since = time.Now()
			}
			resting.Reset(max(0, min(rest, restMax-time.Since(since))))
			continue
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			w.log.Debug("messages of changed files were lost", "error", err)
		case <-resting.C:
		case <-looking.C:
		}
		since = time.Time{}
		w.follow()
		if w.isNew() {
			changed()
		}
	}
}

// follow watches the folders, and the ones above those that do not exist.
func (w *Watcher) follow() {
	var wanted []string
	for _, f := range w.folders() {
		path := f.Path
		for {
			if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
				break
			}
			path = filepath.Dir(path)
		}
		wanted = append(wanted, path)
	}
	for _, path := range w.notify.WatchList() {
		if !slices.Contains(wanted, path) {
			_ = w.notify.Remove(path)
		}
	}
	for _, path := range wanted {
		// Again, too: the folder may be another one under the same name.
		if err := w.notify.Add(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.log.Warn("a folder cannot be watched for changes: after one, use systemctl reload", "folder", path, "error", err)
		}
	}
}

// fingerprint is of everything that matches.
type fingerprint [sha256.Size]byte

// look reads all that matches.
func (w *Watcher) look() fingerprint {
	all := sha256.New()
	for _, f := range w.folders() {
		entries, err := os.ReadDir(f.Path)
		fmt.Fprintf(all, "folder %q %v\n", f.Path, err != nil)
		for _, e := range entries {
			if f.Matches != nil && f.Matches(e.Name()) {
				fmt.Fprintf(all, "file %q\n", e.Name())
				digest(all, filepath.Join(f.Path, e.Name()))
			}
		}
	}
	return fingerprint(all.Sum(nil))
}

// digest adds what is in a file, and who may write it: that is looked at, too.
func digest(to io.Writer, path string) {
	// O_NONBLOCK: a FIFO in a file's place must hold up nobody.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		fmt.Fprintf(to, "error %v\n", err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		fmt.Fprintf(to, "no file\n")
		return
	}
	var uid uint32
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) == nil {
		uid = st.Uid
	}
	own := sha256.New()
	_, err = io.Copy(own, io.LimitReader(f, maxFile+1))
	fmt.Fprintf(to, "%x %v %v %d\n", own.Sum(nil), err, info.Mode(), uid)
}
