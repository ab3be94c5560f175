package dhcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/faultpoint"
)

const leaseSuffix = ".json"

// store keeps one file per lease, "<id>@<interface>@<family>.json": '@' is in no part, so
// no two leases share a name.
type store struct {
	dir string
	// writing holds a token for each write or removal that is under way: those that wait for
	// the disk in the kernel take a thread each.
	writing chan struct{}
}

// maxWriting is how many writes and removals are under way at a time.
const maxWriting = 4

func newStore(dir string) store { return store{dir, make(chan struct{}, maxWriting)} }

func (s store) path(k key) string {
	return filepath.Join(s.dir, fmt.Sprintf("%s@%s@%d%s", k.id, k.ifname, k.family, leaseSuffix))
}

// write replaces the lease's file; after a crash either the old or the new is there.
func (s store) write(l Lease) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	faultpoint.Hit("before lease write")
	err = renameio.WriteFile(s.path(l.key()), append(data, '\n'), 0o600,
		renameio.IgnoreUmask(), renameio.WithTempDir(s.dir))
	faultpoint.Hit("after lease write")
	return err
}

func (s store) remove(k key) error {
	s.writing <- struct{}{} // it waits for the disk as a write does
	defer func() { <-s.writing }()
	faultpoint.Hit("before lease removal")
	err := os.Remove(s.path(k))
	faultpoint.Hit("after lease removal")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s store) load(log *slog.Logger) ([]Lease, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var leases []Lease
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") && entry.Type().IsRegular() {
			os.Remove(path) // what a write left that never came to its end
			continue
		}
		if !strings.HasSuffix(entry.Name(), leaseSuffix) {
			continue
		}
		l, err := s.read(path)
		if err != nil {
			log.Warn("lease left out: the address stays taken on the server until its time is over", "file", path, "error", err)
			continue
		}
		leases = append(leases, l)
	}
	return leases, nil
}

func (s store) read(path string) (Lease, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Lease{}, err
	}
	var l Lease
	if err := json.Unmarshal(data, &l); err != nil {
		return Lease{}, fmt.Errorf("cannot read lease: %w", err)
	}
	if err := l.key().place().validate(); err != nil {
		return Lease{}, err
	}
	if s.path(l.key()) != path {
		return Lease{}, errors.New("the lease is another interface's than its file's name says")
	}
	return l, l.checkWhole()
}

// checkWhole says what a lease that was read lacks.
func (l *Lease) checkWhole() error {
	switch {
	case l.Family == IPv4 && (l.DHCP4 == nil || !dhcp4.UsableHost(l.Server) || !dhcp4.UsableHost(l.Address.Addr())):
	case l.Family == IPv6 && (l.DHCP6 == nil || !l.Address.Addr().Is6()):
	case l.Family != IPv4 && l.Family != IPv6:
	case l.T1 > l.T2 || l.T2 > l.Lifetime:
	default:
		return nil
	}
	return errors.New("it has no valid server, address, times or identity")
}
