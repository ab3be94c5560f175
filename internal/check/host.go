package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/server"
)

// StateFolder says why a folder that is there cannot be the daemon's state folder.
func StateFolder(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("cannot examine the state folder %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("the state folder %s is not a folder: move it away, or choose another state_dir", dir)
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		return fmt.Errorf("the state folder %s must belong to root and be writable by root alone: chown root %[1]s; chmod 0700 %[1]s", dir)
	}
	return nil
}

// folders looks at what the daemon itself needs of this host.
func (r *Report) folders(ctx context.Context, c *config.Config, names server.Names) {
	if err := stateFolder(c.StateDir); err != nil {
		r.add(Finding{Severity: Error, File: r.Path, Message: "state_dir: " + err.Error()})
	}
	const unlessPassed = "it is not used where systemd makes the socket (net-porter.socket)"
	if err := server.CheckSocketPath(c.Socket.Path); err != nil {
		r.add(Finding{Severity: Warning, File: r.Path, Message: fmt.Sprintf("domain_socket.path: cannot make the socket %s: %s", c.Socket.Path, err), Hint: unlessPassed})
	}
	if names != nil {
		if _, _, err := server.SocketOwner(ctx, c.Socket, names); err != nil {
			r.add(Finding{Severity: Warning, File: r.Path, Message: err.Error(), Hint: unlessPassed})
		}
	}
	if c.Metrics.WebConfigFile != "" {
		if err := web.Validate(c.Metrics.WebConfigFile); err != nil && !errors.Is(err, fs.ErrPermission) {
			r.add(Finding{Severity: Error, File: c.Metrics.WebConfigFile, Message: "metrics.web_config_file: " + err.Error()})
		}
	}
}

// stateFolder is StateFolder of one that may yet have to be made, and has to be written to.
// What this user may not look at is not judged.
func stateFolder(dir string) error {
	err := StateFolder(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	exists := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		for errors.Is(err, fs.ErrNotExist) && dir != "/" {
			dir = filepath.Dir(dir)
			err = unix.Access(dir, unix.F_OK)
		}
	}
	if err != nil {
		return err
	}
	switch err := unix.Access(dir, unix.W_OK); {
	case errors.Is(err, unix.EROFS) && exists:
		return fmt.Errorf("the state folder %s is on a disk that is read-only", dir)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("cannot make the state folder in %s, which is on a disk that is read-only", dir)
	}
	return nil
}
