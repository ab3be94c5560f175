package plugin

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// netavarkTimeout bounds `netavark --version`, which takes some milliseconds.
const netavarkTimeout = 2 * time.Second

// NetavarkDirs are where podman looks for netavark by default, in this order
// (containers.conf(5), helper_binaries_dir).
func NetavarkDirs() []string {
	return []string{"/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"}
}

// checkNetavark fails if the machine's netavark is older than 1.6.0, the first with
// plugins: `podman run` would fail with a message that nobody understands. What
// cannot be told is no reason to refuse.
func (h *handler) checkNetavark(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.netavarkTimeout)
	defer cancel()
	for _, dir := range h.netavarkDirs {
		path := filepath.Join(dir, "netavark")
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, path, "--version")
		cmd.Stdout = &limitedBuffer{&out}
		cmd.WaitDelay = h.netavarkTimeout // for what holds stdout open
		if cmd.Run() != nil {
			continue
		}
		version := strings.TrimPrefix(strings.TrimSpace(out.String()), "netavark ")
		if major, minor, ok := majorMinor(version); ok && (major < 1 || major == 1 && minor < 6) {
			return fmt.Errorf("netavark is too old for plugins: %s is version %s, 1.6.0 or later is needed (with podman 4.5 or later); upgrade podman and netavark, Debian 13 and Ubuntu 24.04 have them", path, plain(version))
		}
		return nil
	}
	return nil
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ *bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	const limit = 1 << 10
	if room := limit - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// majorMinor reads the first two numbers of a version such as 1.14.0 or 2.0.0-dev.
func majorMinor(version string) (major, minor int, ok bool) {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 3 {
		return 0, 0, false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(parts[1])
	return major, minor, err == nil
}
