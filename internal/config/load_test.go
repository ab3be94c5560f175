package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func write(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // not subject to the umask
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	path := write(t, `{"resources": []}`, 0o644)
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(link); err != nil {
		t.Errorf("through a symlink: %v", err)
	}
}

func TestLoadNamesTheFileInErrors(t *testing.T) {
	path := write(t, "{\n\"x\"", 0o600)
	_, err := Load(path)
	if want := path + ":2:4: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s...", err, want)
	}
}

func TestLoadRefusesWhatOthersCanWrite(t *testing.T) {
	for mode, shown := range map[fs.FileMode]string{0o664: "0664", 0o646: "0646", 0o620: "0620", 0o602: "0602"} {
		path := write(t, `{"resources": []}`, mode)
		_, err := Load(path)
		want := path + ": the file's mode is " + shown +
			": others than its owner could change who gets onto the network (chmod go-w " + path + ")"
		if err == nil || err.Error() != want {
			t.Errorf("mode %s: got %v\nwant %s", shown, err, want)
		}
	}
}

func TestOwner(t *testing.T) {
	for _, c := range []struct {
		owner uint32
		euid  int
		ok    bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 0, false}, {1001, 1000, false}, {65534, 0, false}} {
		err := untrusted("/etc/c", &unix.Stat_t{Mode: unix.S_IFREG | 0o600, Uid: c.owner}, c.euid)
		if (err == nil) != c.ok {
			t.Errorf("owner %d, running as %d: %v", c.owner, c.euid, err)
		}
	}
	err := untrusted("/etc/c", &unix.Stat_t{Mode: unix.S_IFREG | 0o600, Uid: 1000}, 0)
	const want = "/etc/c: the file belongs to uid 1000, who could change who gets onto the network (chown root /etc/c)"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A FIFO without a writer would block a plain open for ever.
func TestLoadRefusesWhatIsNotAFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, "/dev/null"} {
		_, err := Load(path)
		if want := path + ": this is not a regular file (name the configuration file itself)"; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestLoadMissingFile(t *testing.T) {
	_, err := Load("/nonexistent/config.json")
	const want = "/nonexistent/config.json: there is no such file (name another with -c FILE)"
	if err == nil || err.Error() != want || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Line != 0 {
		t.Errorf("got %#v", err)
	}
}
