package attachment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/net-porter/net-porter/internal/faultpoint"
)

const recordSuffix = ".json"

// maxWriting is how many records are written or removed at a time.
const maxWriting = 4

// Journal keeps one file per attachment in a folder that is the daemon's alone.
// A file is replaced whole or not at all.
type Journal struct {
	dir string
	log *slog.Logger
	// writing holds a token for each write or removal that is under way: those that wait for
	// the disk in the kernel take a thread each.
	writing chan struct{}

	mu       sync.Mutex
	unusable map[string]bool // paths of what Load has left alone
}

// OpenJournal makes the folder (mode 0700) if it is not there.
func OpenJournal(dir string, log *slog.Logger) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the journal's folder: %w", err)
	}
	return &Journal{dir: dir, log: log, writing: make(chan struct{}, maxWriting), unusable: map[string]bool{}}, nil
}

// Load reads every record. A file that is none is left where it is and logged:
// what it stands for may still exist, and somebody has to look.
func (j *Journal) Load() ([]*Record, error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	var records []*Record
	for _, e := range entries {
		path := filepath.Join(j.dir, e.Name())
		if !strings.HasSuffix(e.Name(), recordSuffix) {
			// What a write left that a crash cut short; the record itself is whole.
			if strings.HasPrefix(e.Name(), ".") && e.Type().IsRegular() {
				_ = os.Remove(path)
			}
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the journal: %w", err)
		}
		r, err := decodeRecord(e.Name(), data)
		if err != nil {
			j.log.Error("a journal record cannot be used and is left alone: look at what it stands for and remove it", "file", path, "error", err)
			j.mu.Lock()
			j.unusable[path] = true
			j.mu.Unlock()
			continue
		}
		records = append(records, r)
	}
	return records, nil
}

// Write records r, replacing what was there under its key, but not what Load left
// alone: then it is ErrJournal until somebody has removed the file.
func (j *Journal) Write(r *Record) error {
	path := j.path(r.Key)
	if err := j.checkUsable(path); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	j.writing <- struct{}{}
	defer func() { <-j.writing }()
	faultpoint.Hit("before journal write", string(r.State))
	// By itself renameio would try in the world's temporary folder first.
	err = renameio.WriteFile(path, data, 0o600, renameio.IgnoreUmask(), renameio.WithTempDir(j.dir))
	faultpoint.Hit("after journal write", string(r.State))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}

// Unusable returns the keys of the files that Load has left alone and that are still
// there; a name that is no key's is the whole of the key's container id.
func (j *Journal) Unusable() []Key {
	j.mu.Lock()
	paths := slices.Sorted(maps.Keys(j.unusable))
	j.mu.Unlock()
	var keys []Key
	for _, path := range paths {
		if j.checkUsable(path) == nil {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(path), recordSuffix)
		k, ok := ParseKey(name)
		if !ok {
			k = Key{ContainerID: name}
		}
		keys = append(keys, k)
	}
	return keys
}

func (j *Journal) checkUsable(path string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.unusable[path] {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s cannot be used as a record and may stand for something that still exists: look at it and remove it", ErrJournal, path)
	}
	delete(j.unusable, path)
	return nil
}

// Remove removes the record; one that is not there is no error.
func (j *Journal) Remove(k Key) error {
	j.writing <- struct{}{} // it waits for the disk as a write does
	defer func() { <-j.writing }()
	faultpoint.Hit("before journal removal")
	err := os.Remove(j.path(k))
	faultpoint.Hit("after journal removal")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}

func (j *Journal) path(k Key) string { return filepath.Join(j.dir, k.String()+recordSuffix) }
