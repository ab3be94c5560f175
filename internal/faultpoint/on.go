//go:build faultpoints

package faultpoint

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// one has the moments of all goroutines one after another.
var one sync.Mutex

// Hit is a moment at which the daemon may be killed: it is not seen to return then.
func Hit(moment string, of ...string) {
	dir := os.Getenv(DirEnv)
	if dir == "" {
		return
	}
	one.Lock()
	defer one.Unlock()
	n, err := record(filepath.Join(dir, "hits"), strings.Join(append([]string{moment}, of...), " "))
	if err != nil {
		panic(fmt.Sprintf("faultpoint: %v", err)) // a test that counts must not count too few
	}
	text, err := os.ReadFile(filepath.Join(dir, "kill"))
	if err != nil {
		return // not armed
	}
	if kill, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && kill == n {
		_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
		select {} // the signal is on its way
	}
}

// record appends a line and returns how many there are now.
func record(path, line string) (lines int, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if _, err := file.WriteString(line + "\n"); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(path)
	return bytes.Count(text, []byte("\n")), err
}
