package cni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A host-local that was killed between making an address's file and writing whose it is
// leaves an empty one. It is removed, unless its writer still has host-local's lock.
func TestForgetHalfReserved(t *testing.T) {
	data := t.TempDir()
	network, err := Parse("lan", fmt.Appendf(nil, `{"cniVersion": "1.0.0", "name": "pool", "plugins": [{"type": "macvlan", "master": "infra",
		"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "192.0.2.0/24"}]]}}]}`, data))
	if err != nil {
		t.Fatal(err)
	}
	if found, err := network.ForgetHalfReserved(t.Context()); err != nil || len(found) > 0 {
		t.Fatalf("of no folder: %v, %v", found, err)
	}
	dir := filepath.Join(data, "pool")
	files := map[string]string{
		"192.0.2.8": "", "2001:db8::8": "", "192.0.2.9": "1000.c1\r\neth0", "last_reserved_ip.0": "", "lock": "", "notes": "",
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	fd := int(lock.Fd())
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	patience, cancel := context.WithTimeout(t.Context(), 4*lockPause)
	defer cancel()
	if found, err := network.ForgetHalfReserved(patience); !errors.Is(err, context.DeadlineExceeded) || len(found) > 0 {
		t.Errorf("while host-local works: %v, %v", found, err)
	}
	time.AfterFunc(2*lockPause, func() { _ = unix.Flock(fd, unix.LOCK_UN) })
	found, err := network.ForgetHalfReserved(t.Context())
	if slices.Sort(found); err != nil || !slices.Equal(found, []string{"192.0.2.8", "2001:db8::8"}) {
		t.Errorf("found %v, %v", found, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(files)-2 {
		t.Errorf("left are %v, %v", entries, err)
	}
}
