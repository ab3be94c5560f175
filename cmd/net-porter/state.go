package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/check"
)

// lockState takes the state folder for this process alone: two daemons with one
// journal would each undo what the other does.
func (d *daemon) lockState() error {
	dir := d.config.StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the state folder: %w", err)
	}
	if err := check.StateFolder(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, "lock")
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, unix.EROFS) {
		lock, err = os.Open(path) // which flock(2) is content with
	}
	if err != nil {
		return fmt.Errorf("cannot lock the state folder: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("another net-porter server uses the state folder %s: stop it first (systemctl stop net-porter), or give this one a state_dir of its own", dir)
		}
		return fmt.Errorf("cannot lock the state folder: %w", err)
	}
	d.lock = lock
	return nil
}
