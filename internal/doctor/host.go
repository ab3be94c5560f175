package doctor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// programTime bounds a program that is asked for its version, or what else it knows.
	programTime = 5 * time.Second
	// maxOutput and maxFile bound what is read, in bytes.
	maxOutput, maxFile = 64 << 10, 256 << 10
)

// host is how the machine is looked at. Tests have a folder in the place of its root.
type host struct {
	root    string // "" is "/"
	asRoot  bool
	release string // of the kernel (uname(2))
	run     func(ctx context.Context, path string, args ...string) (string, error)
}

func thisHost() host {
	var name unix.Utsname
	_ = unix.Uname(&name) // it fails for a bad pointer alone
	return host{asRoot: os.Geteuid() == 0, release: unix.ByteSliceToString(name.Release[:]), run: runProgram}
}

func (h *host) path(path string) string { return h.root + path }

// read returns a regular file's text, "" if there is none that can be read. It does not
// wait for a pipe; and as root it follows no link that another user may have made.
func (h *host) read(path string) string {
	real, flags := h.path(path), os.O_RDONLY|unix.O_NONBLOCK
	if h.asRoot {
		if own, err := h.rootsOwn(path); err == nil {
			real = own
		} else {
			flags |= unix.O_NOFOLLOW
		}
	}
	f, err := os.OpenFile(real, flags, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return ""
	}
	return string(text)
}

// list returns the paths of files in a folder that end in a suffix, in order, of at most
// max entries.
func (h *host) list(dir, suffix string, max int) (files []string) {
	d, err := os.OpenFile(h.path(dir), os.O_RDONLY|unix.O_DIRECTORY, 0) // else a pipe would be waited for
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(max) // what was read before an error is worth a look
	for _, name := range names {
		if strings.HasSuffix(name, suffix) && !strings.HasPrefix(name, ".") {
			files = append(files, filepath.Join(dir, name))
		}
	}
	slices.Sort(files)
	return files
}

// first returns the first of some paths that is a program, as netavark and podman look
// for theirs: a regular file with an x bit; "" if none is.
func (h *host) first(paths []string) string {
	for _, path := range paths {
		if st, err := os.Stat(h.path(path)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// ask runs a program of this host and returns what it says. As root it runs none that
// others could have written, or chosen.
func (h *host) ask(ctx context.Context, program string, args ...string) (string, error) {
	real := h.path(program)
	if h.asRoot {
		own, err := h.rootsOwn(program)
		if err != nil {
			return "", err
		}
		real = own
	}
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	return h.run(ctx, real, args...)
}

// runProgram runs a program in a group of its own, so that nothing of it is left, with its
// output bounded.
func runProgram(ctx context.Context, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out, stderr limited
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if text := strings.TrimSpace(stderr.String()); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, quoted(lastLine(text)))
	}
	return out.String(), err
}

// limited keeps the beginning of what is written to it.
type limited struct{ kept bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.kept.Write(p[:min(len(p), maxOutput-l.kept.Len())])
	return len(p), nil
}

func (l *limited) String() string { return l.kept.String() }

func lastLine(text string) string { return text[strings.LastIndexByte(text, '\n')+1:] }

// maxQuoted is how much of a text of others' making is shown, in bytes.
const maxQuoted = 300

// quoted is a text of others' making, harmless to a terminal.
func quoted(text string) string { return fmt.Sprintf("%q", text[:min(len(text), maxQuoted)]) }
