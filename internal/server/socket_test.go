package server

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestListenSetsOwnerAndMode(t *testing.T) {
	testlab.RequireRoot(t)
	old := unix.Umask(0) // the widest that an administrator could have
	defer unix.Umask(old)
	path := filepath.Join(t.TempDir(), "s")
	s := must(Listen(path, 0, 4242, 0o660))(t)
	defer s.Close()
	var st unix.Stat_t
	ok(t, unix.Stat(path, &st))
	if st.Uid != 0 || st.Gid != 4242 || st.Mode&0o7777 != 0o660 {
		t.Errorf("owner %d:%d, mode %o", st.Uid, st.Gid, st.Mode&0o7777)
	}
	if left := must(os.ReadDir(filepath.Dir(path)))(t); len(left) != 1 {
		t.Errorf("more than the socket is there: %v", left)
	}
	ok(t, must(net.Dial("unix", path))(t).Close())
	s.Remove()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
}

func TestListenReplacesOnlyWhatNobodyUses(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "s")

	stale := must(net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}))(t)
	stale.SetUnlinkOnClose(false)
	stale.Close()
	first, err := Listen(path, 0, 0, 0o600)
	if err != nil {
		t.Fatalf("a stale socket is not replaced: %v", err)
	}
	defer first.Close()
	if second, err := Listen(path, 0, 0, 0o600); err == nil {
		second.Close()
		t.Error("a live socket was replaced")
	} else if !strings.Contains(err.Error(), "another server listens") {
		t.Errorf("the error does not say why: %v", err)
	}
	ok(t, must(net.Dial("unix", path))(t).Close())

	file := filepath.Join(dir, "file")
	ok(t, os.WriteFile(file, []byte("precious"), 0o600))
	if s, err := Listen(file, 0, 0, 0o600); err == nil {
		s.Close()
		t.Error("a file was replaced by the socket")
	}
	if got := string(must(os.ReadFile(file))(t)); got != "precious" {
		t.Errorf("the file now holds %q", got)
	}

	// A server that ends late must not remove its successor's socket.
	ok(t, os.Remove(path))
	successor := must(Listen(path, 0, 0, 0o600))(t)
	defer successor.Close()
	first.Remove()
	ok(t, must(net.Dial("unix", path))(t).Close())
}

func TestListenTakesLongPaths(t *testing.T) {
	testlab.RequireRoot(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30), strings.Repeat("longer", 30))
	ok(t, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, "s") // far above the 107 bytes of a socket address
	s := must(Listen(path, 0, 0, 0o600))(t)
	defer s.Close()
	d := must(os.Open(dir))(t)
	defer d.Close()
	ok(t, must(net.Dial("unix", "/proc/self/fd/"+uidText(uint32(d.Fd()))+"/s"))(t).Close())
}

// A socket of a group's needs none of the capabilities that the unit leaves out.
func TestListenWithoutCapabilities(t *testing.T) {
	testlab.RequireRoot(t)
	path := filepath.Join(t.TempDir(), "s")
	var s *Socket
	var groupErr, userErr error
	testlab.WithoutCapabilities(t, func() {
		s, groupErr = Listen(path, 0, 4242, 0o660)
		_, userErr = Listen(path+"2", 4242, 0, 0o600)
	}, unix.CAP_CHOWN, unix.CAP_FOWNER, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH)
	ok(t, groupErr)
	defer s.Close()
	var st unix.Stat_t
	ok(t, unix.Stat(path, &st))
	if st.Uid != 0 || st.Gid != 4242 || st.Mode&0o7777 != 0o660 {
		t.Errorf("owner %d:%d, mode %o", st.Uid, st.Gid, st.Mode&0o7777)
	}
	file := path + "-file"
	ok(t, os.WriteFile(file, nil, 0o600))
	ok(t, unix.Stat(file, &st))
	if st.Gid == 4242 {
		t.Error("other files get the socket's group, too")
	}
	if userErr == nil || !strings.Contains(userErr.Error(), "SocketUser=") {
		t.Errorf("another user's: %v, want what to do", userErr)
	}
}
