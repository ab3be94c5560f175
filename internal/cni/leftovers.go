package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"
)

// Leftover is what CNI keeps of an attachment: enough to run DEL for it.
type Leftover struct {
	// ContainerID is "<uid>.<container id>".
	ContainerID string
	Interface   string
	// Network is the one that ADD ran with; nil if that cannot be read any more.
	Network *Network
	// Args are the CNI_ARGS beside IgnoreUnknown=1.
	Args [][2]string
	// CapabilityArgs are those of ADD.
	CapabilityArgs map[string]any
}

// Cached returns what the cache of results (CNI spec 1.1, section 4, "Lifecycle &
// Ordering") holds, of attachments whether they still exist or not. Folders that this
// package has not made are passed over.
func (r *Runner) Cached() ([]Leftover, error) {
	entries, err := os.ReadDir(r.options.CacheDir)
	if err != nil {
		return nil, fmt.Errorf("cannot read CNI's cache folder: %w", err)
	}
	var all []Leftover
	for _, e := range entries {
		id, ifname, ok := strings.Cut(e.Name(), "@")
		inv := Invocation{ContainerID: id, Interface: ifname}
		if !ok || !e.IsDir() || inv.validate("DEL") != nil {
			continue
		}
		all = append(all, r.cached(inv))
	}
	return all, nil
}

// cached reads an attachment's folder as far as that is possible.
func (r *Runner) cached(inv Invocation) Leftover {
	l := Leftover{ContainerID: inv.ContainerID, Interface: inv.Interface}
	lib := libcni.NewCNIConfigWithCacheDir(nil, r.cacheDir(inv), nil) // it runs nothing
	attachments, err := lib.GetCachedAttachments(inv.ContainerID)
	if err != nil {
		return l
	}
	for _, a := range attachments {
		// The name of a resource may be as long as one of a network.
		network, err := Parse(a.Network, a.Config)
		if err != nil || a.IfName != inv.Interface {
			continue
		}
		l.Network, l.CapabilityArgs = network, a.CapabilityArgs
		for _, arg := range a.CniArgs {
			if arg[0] != ignoreUnknown {
				l.Args = append(l.Args, arg)
			}
		}
	}
	return l
}

// Discard removes an attachment's folder from the cache, for one of which nothing else
// is left. That there is none is no error.
func (r *Runner) Discard(containerID, ifname string) error {
	inv := Invocation{ContainerID: containerID, Interface: ifname}
	if err := inv.validate("DEL"); err != nil {
		return err
	}
	if err := os.RemoveAll(r.cacheDir(inv)); err != nil {
		return fmt.Errorf("cannot remove the attachment's cache folder: %w", err)
	}
	return nil
}

// Reservation is an address that host-local has given to an attachment.
type Reservation struct {
	ContainerID string // "<uid>.<container id>"
	Interface   string
	Address     string // as host-local spells it
}

// hostLocalDir is where host-local keeps its files by default.
const hostLocalDir = "/var/lib/cni/networks"

// maxReservation is far above the size in bytes of a file of host-local's.
const maxReservation = 4 << 10

// Reservations returns the addresses that the host-local plugins of the network have
// given to attachments, whether they still exist or not. What is reserved under ids that
// are not "<uid>.<container id>" is somebody else's, and left out.
func (n *Network) Reservations() ([]Reservation, error) {
	var all []Reservation
	for _, dir := range n.hostLocalDirs() {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the addresses that host-local has given: %w", err)
		}
		for _, e := range entries {
			if !e.Type().IsRegular() {
				continue
			}
			if r, ok := readReservation(filepath.Join(dir, e.Name())); ok {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// readReservation reads a file that has the id and the interface, in a line each. It is
// named after the address; others, as that of the lock, have other contents.
func readReservation(path string) (Reservation, bool) {
	info, err := os.Lstat(path)
	if err != nil || info.Size() > maxReservation {
		return Reservation{}, false
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Reservation{}, false // gone meanwhile
	}
	id, ifname, ok := strings.Cut(strings.TrimSpace(string(data)), "\n")
	r := Reservation{strings.TrimSpace(id), strings.TrimSpace(ifname), filepath.Base(path)}
	return r, ok && Invocation{ContainerID: r.ContainerID, Interface: r.Interface}.validate("DEL") == nil
}

// lockPause is how long it takes until host-local's lock is tried again.
const lockPause = 5 * time.Millisecond

// ForgetHalfReserved removes what host-local plugins that were killed have left of addresses
// which they had begun to reserve: empty files, which name nobody, so that no DEL finds them
// and nobody gets the address again. Under host-local's own lock such a file is nobody's
// work in progress. It returns the addresses.
func (n *Network) ForgetHalfReserved(ctx context.Context) (addresses []string, err error) {
	for _, dir := range n.hostLocalDirs() {
		found, dirErr := forgetHalfReserved(ctx, dir)
		addresses, err = append(addresses, found...), errors.Join(err, dirErr)
	}
	return addresses, err
}

func forgetHalfReserved(ctx context.Context, dir string) (addresses []string, err error) {
	half, err := halfReserved(dir)
	if err != nil || len(half) == 0 {
		return nil, err // as nearly always, and then nobody waits for the lock
	}
	unlock, err := lockHostLocal(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("cannot lock host-local's addresses in %s: %w", dir, err)
	}
	defer unlock()
	if half, err = halfReserved(dir); err != nil {
		return nil, err
	}
	for _, address := range half {
		if removeErr := os.Remove(filepath.Join(dir, address)); removeErr != nil {
			err = errors.Join(err, removeErr)
			continue
		}
		addresses = append(addresses, address)
	}
	return addresses, err
}

// halfReserved are the addresses of which a folder of host-local's has an empty file.
func halfReserved(dir string) (addresses []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the addresses that host-local has given: %w", err)
	}
	for _, e := range entries {
		if _, err := netip.ParseAddr(e.Name()); err != nil || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil && info.Size() == 0 {
			addresses = append(addresses, e.Name())
		}
	}
	return addresses, nil
}

// lockHostLocal takes the lock that host-local holds while it reserves or releases.
func lockHostLocal(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, err
		}
		pause := time.NewTimer(lockPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			f.Close()
			return nil, context.Cause(ctx)
		}
	}
}

// hostLocalDirs are the folders of the network's host-local plugins, each once.
func (n *Network) hostLocalDirs() []string {
	var dirs []string
	seen := map[string]bool{}
	for i, l := range n.chain {
		if l.ipamType != "host-local" {
			continue
		}
		conf, err := decodeTree(n.list.Plugins[i].Bytes)
		if err != nil {
			continue // bytes that build has made are read back
		}
		ipam, _ := conf["ipam"].(map[string]any)
		dir := text(ipam, "dataDir")
		if dir == "" {
			dir = hostLocalDir
		}
		if dir = filepath.Join(dir, n.CNIName()); !seen[dir] {
			dirs, seen[dir] = append(dirs, dir), true
		}
	}
	return dirs
}
