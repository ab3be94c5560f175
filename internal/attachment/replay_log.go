package attachment

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// maxReplayLog is the size in bytes from which the log is written anew, without what is
// over.
const maxReplayLog = 1 << 20

// replayLog keeps replays for the next daemon: a reload whose teardown this one has
// answered may go on there. One line of JSON follows the other, the last of a key
// counts. It is not synced: after a crash of the host no namespace is left to go on in.
type replayLog struct {
	path string // "": nothing is kept
	file *os.File
	size int64
}

// replayLine is a line of the log; one that is over from the start takes back what was
// there.
type replayLine struct {
	Key
	replayed
}

// open reads the log and goes on with what of it counts.
func (l *replayLog) open(path string, now time.Time) (map[Key]replayed, error) {
	l.path = path
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read what was released last: %w", err)
	}
	entries := map[Key]replayed{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var line replayLine
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue // empty, or cut short on a full disk
		}
		delete(entries, line.Key)
		// A clock that was set back makes nothing last longer.
		if !now.After(line.Until) && !line.Until.After(now.Add(replayFor)) {
			entries[line.Key] = line.replayed
		}
	}
	return entries, l.rewrite(entries)
}

// add appends a line. All entries are those that count with it.
func (l *replayLog) add(k Key, e replayed, all map[Key]replayed) error {
	switch {
	case l.path == "":
		return nil
	case l.file == nil || l.size > maxReplayLog:
		return l.rewrite(all)
	}
	line, err := json.Marshal(replayLine{k, e})
	if err != nil {
		return err
	}
	// The newline before it ends what was cut short.
	n, err := l.file.Write(append(append([]byte{'\n'}, line...), '\n'))
	l.size += int64(n)
	return err
}

// rewrite replaces the log.
func (l *replayLog) rewrite(all map[Key]replayed) error {
	var data bytes.Buffer
	for k, e := range all {
		if err := json.NewEncoder(&data).Encode(replayLine{k, e}); err != nil {
			return err
		}
	}
	l.close()
	if err := renameio.WriteFile(l.path, data.Bytes(), 0o600, renameio.IgnoreUmask(), renameio.WithTempDir(filepath.Dir(l.path))); err != nil {
		return fmt.Errorf("cannot keep what was released last: %w", err)
	}
	var err error
	l.file, err = os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	l.size = int64(data.Len())
	return err
}

func (l *replayLog) close() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}
