package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// machineID is the file of machine-id(5), which asks that its content leave the
// machine only as the key of a hash.
const machineID = "/etc/machine-id"

// hostID is the file in the state folder that holds a host's own seed: 32 bytes as
// 64 hexadecimal digits and a newline.
const hostID = "host-id"

const seedSize = 32

// ReadHost returns this host. Its seed is /etc/machine-id; where that is missing,
// empty, "uninitialized" or otherwise no machine id, it is a random one that is
// made in <stateDir>/host-id. From then on that file comes first, so that a machine
// id that turns up later does not make every container another one. An
// administrator may write one, to keep the identities on a new machine, or to tell
// clones apart that have one machine id.
//
// The folder must be there, be root's alone, and be locked against another daemon,
// which might make another seed at the same time. What cannot be read, or could be
// read or written by others, is an error and never another seed.
func ReadHost(stateDir string) (Host, error) { return readHost(stateDir, machineID) }

func readHost(stateDir, machineIDPath string) (Host, error) {
	path := filepath.Join(stateDir, hostID)
	seed, err := readHostID(path)
	if err == nil {
		return NewHost(seed), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Host{}, err
	}
	if seed, err = readMachineID(machineIDPath); err != nil {
		return Host{}, fmt.Errorf("cannot read the machine id, which containers' MAC addresses are made of: %w", err)
	}
	if seed == nil {
		if seed, err = makeHostID(path); err != nil {
			return Host{}, fmt.Errorf("%s holds no machine id, and a seed instead of it cannot be kept in %s: %w", machineIDPath, path, err)
		}
	}
	return NewHost(seed), nil
}

// readMachineID returns the 16 bytes that the file stands for, or nil when there is
// no machine id in it.
func readMachineID(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return nil, err
	}
	seed, err := hex.DecodeString(string(bytes.TrimSuffix(text, []byte("\n"))))
	if err != nil || len(seed) != 16 || bytes.Equal(seed, make([]byte, 16)) {
		return nil, nil
	}
	return seed, nil
}

// readHostID returns the seed, or an error that says what to do; fs.ErrNotExist
// when there is no such file.
func readHostID(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read the host's seed: %w", err)
	}
	defer f.Close()
	// What is checked is the open file, not the path, which could change in between.
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("cannot examine the host's seed %s: %w", path, err)
	}
	if err := untrusted(path, &st, os.Geteuid()); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, 2*seedSize+2))
	if err != nil {
		return nil, fmt.Errorf("cannot read the host's seed: %w", err)
	}
	seed, err := hex.DecodeString(string(bytes.TrimSuffix(text, []byte("\n"))))
	if err != nil || len(seed) != seedSize {
		return nil, fmt.Errorf("%s does not hold the host's seed, %d hexadecimal digits: "+
			"put it back from a backup, or remove it, which gives every container other addresses", path, 2*seedSize)
	}
	return seed, nil
}

// untrusted says why a file with these attributes may not be the seed of a process
// with this effective uid; nil when it may.
func untrusted(path string, st *unix.Stat_t, euid int) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("the host's seed %s is not a regular file: remove it", path)
	case st.Uid != 0 && int64(st.Uid) != int64(euid):
		return fmt.Errorf("the host's seed %s belongs to uid %d, who could take the addresses of others' containers: "+
			"look at it, then chown root %[1]s or remove it", path, st.Uid)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("the host's seed %s has mode %04o, so that others than its owner could use it: chmod 0600 %[1]s", path, st.Mode&0o7777)
	}
	return nil
}

// makeHostID makes a seed and returns it once it is on the disk: what was derived
// from one that a power failure undid would be lost.
func makeHostID(path string) ([]byte, error) {
	seed := make([]byte, seedSize)
	rand.Read(seed) // never fails: crypto/rand
	dir := filepath.Dir(path)
	// By itself renameio would try in the world's temporary folder first.
	err := renameio.WriteFile(path, append(hex.AppendEncode(nil, seed), '\n'), 0o600,
		renameio.IgnoreUmask(), renameio.WithTempDir(dir))
	if err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return seed, d.Sync()
}
