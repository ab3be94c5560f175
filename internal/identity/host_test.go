package identity

import (
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const machine = "3d1219c7c4c5404aaa1f6d2a48adfda4"

// file writes a file of the given mode and returns its path.
func file(t *testing.T, path, text string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // not subject to the umask
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, stateDir, machineID string) Host {
	t.Helper()
	h, err := readHost(stateDir, machineID)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func fromHex(t *testing.T, text string) Host {
	t.Helper()
	seed, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return NewHost(seed)
}

func TestHostIsItsMachineID(t *testing.T) {
	for _, text := range []string{machine + "\n", machine} {
		dir := t.TempDir()
		path := file(t, filepath.Join(t.TempDir(), "machine-id"), text, 0o444)
		if read(t, dir, path) != fromHex(t, machine) {
			t.Errorf("%q is not what the host is made of", text)
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("%q: %s was made", text, entries[0].Name())
		}
	}
}

func TestHostWithoutMachineIDKeepsASeed(t *testing.T) {
	hosts := map[Host]string{}
	for name, text := range map[string]string{
		"missing": "", "empty": "", "a newline": "\n", "uninitialized": "uninitialized\n",
		"zeros": strings.Repeat("0", 32) + "\n", "short": machine[:30] + "\n", "long": machine + machine, "no digits": strings.Repeat("x", 32),
	} {
		dir, path := t.TempDir(), filepath.Join(t.TempDir(), "machine-id")
		if name != "missing" {
			file(t, path, text, 0o444)
		}
		h := read(t, dir, path)
		if other, ok := hosts[h]; ok {
			t.Errorf("the hosts of %s and %s are one", name, other)
		}
		hosts[h] = name

		kept := filepath.Join(dir, "host-id")
		st, err := os.Lstat(kept)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != 0o600 || st.Size() != 65 {
			t.Errorf("%s: %s of %d bytes", name, st.Mode(), st.Size())
		}
		before, err := os.ReadFile(kept)
		if err != nil {
			t.Fatal(err)
		}
		if read(t, dir, path) != h {
			t.Errorf("%s: the host is another one when it is read again", name)
		}
		// The machine id that systemd makes later must not give running containers new addresses.
		os.Remove(path)
		file(t, path, machine+"\n", 0o444)
		if read(t, dir, path) != h {
			t.Errorf("%s: the host is another one since it has a machine id", name)
		}
		if after, err := os.ReadFile(kept); err != nil || string(after) != string(before) {
			t.Errorf("%s: the seed was written again: %v", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%s: %d files in the state folder", name, len(entries))
		}
	}
}

func TestSeedOfAnAdministrator(t *testing.T) {
	dir, seed := t.TempDir(), strings.Repeat("0123456789ABCDEF", 4)
	file(t, filepath.Join(dir, "host-id"), seed, 0o400)
	if read(t, dir, "/nonexistent") != fromHex(t, seed) {
		t.Error("not what the host is made of")
	}
}

// Another seed would silently give every container another address.
func TestUnusableSeedIsAnError(t *testing.T) {
	machineID := file(t, filepath.Join(t.TempDir(), "machine-id"), machine+"\n", 0o444)
	good := strings.Repeat("5a", 32) + "\n"
	const others = " so that others than its owner could use it: chmod 0600 "
	const digits = " does not hold the host's seed, 64 hexadecimal digits: " +
		"put it back from a backup, or remove it, which gives every container other addresses"
	for _, c := range []struct {
		name, text string
		mode       fs.FileMode
		want       string // @ is the file's path
	}{
		{"readable by others", good, 0o604, "the host's seed @ has mode 0604," + others + "@"},
		{"readable by a group", good, 0o640, "the host's seed @ has mode 0640," + others + "@"},
		{"writable by others", good, 0o602, "the host's seed @ has mode 0602," + others + "@"},
		{"empty", "", 0o600, "@" + digits},
		{"short", good[2:], 0o600, "@" + digits},
		{"long", good[:64] + "00\n", 0o600, "@" + digits},
		{"more lines", good + "\n", 0o600, "@" + digits},
		{"no digits", strings.Repeat("x", 64), 0o600, "@" + digits},
	} {
		path := file(t, filepath.Join(t.TempDir(), "host-id"), c.text, c.mode)
		_, err := readHost(filepath.Dir(path), machineID)
		if want := strings.ReplaceAll(c.want, "@", path); err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.name, err, want)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != c.text {
			t.Errorf("%s: the file was changed: %v", c.name, err)
		}
	}
}

func TestOwnerOfTheSeed(t *testing.T) {
	for _, c := range []struct {
		owner uint32
		euid  int
		ok    bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 0, false}, {1001, 1000, false}} {
		err := untrusted("/s/host-id", &unix.Stat_t{Mode: unix.S_IFREG | 0o600, Uid: c.owner}, c.euid)
		if (err == nil) != c.ok {
			t.Errorf("owner %d, running as %d: %v", c.owner, c.euid, err)
		}
	}
	err := untrusted("/s/host-id", &unix.Stat_t{Mode: unix.S_IFREG | 0o600, Uid: 1000}, 0)
	const want = "the host's seed /s/host-id belongs to uid 1000, who could take the addresses of others' containers: " +
		"look at it, then chown root /s/host-id or remove it"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A FIFO would block a plain open for ever, a symlink lead to somebody else's file.
func TestSeedIsAFileItself(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"FIFO":             func(path string) error { return unix.Mkfifo(path, 0o600) },
		"folder":           func(path string) error { return os.Mkdir(path, 0o700) },
		"symlink":          func(path string) error { return os.Symlink(file(t, path+"2", strings.Repeat("5a", 32), 0o600), path) },
		"dangling symlink": func(path string) error { return os.Symlink("/nonexistent", path) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "host-id")
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		if _, err := readHost(dir, "/nonexistent"); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatCannotBeReadOrKeptIsAnError(t *testing.T) {
	folder := t.TempDir()
	if _, err := readHost(t.TempDir(), folder); err == nil || !strings.Contains(err.Error(), folder) {
		t.Errorf("a machine id that is a folder: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "state")
	if _, err := readHost(missing, "/nonexistent"); err == nil || !strings.Contains(err.Error(), missing+"/host-id") {
		t.Errorf("a state folder that is not there: %v", err)
	}
}

func TestReadHostOfThisMachine(t *testing.T) {
	dir := t.TempDir()
	h, err := ReadHost(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ReadHost(dir); err != nil || again != h {
		t.Errorf("the host is another one when it is read again: %v", err)
	}
}
