package nss

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// scanFile returns the first wanted entry of a passwd or group file. Lines that are
// no entries, such as comments and the "+" of nsswitch's compat mode, are skipped as
// the C library does. A file that does not exist has no entries.
func scanFile[T any](path string, parse func(string) (T, error), wanted func(T) bool) (T, error) {
	var none T
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, ErrNotFound
	}
	if err != nil {
		return none, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		entry, err := parse(lines.Text())
		if err == nil && wanted(entry) {
			return entry, nil
		}
	}
	if err := lines.Err(); err != nil {
		return none, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return none, ErrNotFound
}
