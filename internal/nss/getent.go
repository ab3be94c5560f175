package nss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// errNoGetent says that none of the programs exists.
var errNoGetent = errors.New("there is no getent")

var (
	errTooLong = errors.New("getent's answer is too long")
	errTimeout = errors.New("getent did not answer in time; is a directory service (LDAP, SSSD) down?")
)

const (
	// maxAnswer bounds an answer, in bytes: a group's entry lists all its members.
	maxAnswer = 4 << 20
	// maxComplaint bounds what is kept of stderr, in bytes.
	maxComplaint = 512
	// exitNotFound is getent(1)'s exit code for a key that no source has.
	exitNotFound = 2
)

// ask returns the one line that getent answers with, without its newline.
func (r *Resolver) ask(ctx context.Context, database, key string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errTimeout)
	defer cancel()
	select {
	case r.running <- struct{}{}:
		defer func() { <-r.running }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	for _, path := range r.getent {
		line, err := run(ctx, path, database, key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return line, err
	}
	return "", errNoGetent
}

func run(ctx context.Context, path, database, key string) (string, error) {
	out, complaint := &limited{most: maxAnswer, err: errTooLong}, &limited{most: maxComplaint}
	cmd := exec.CommandContext(ctx, path, database, "--", key)
	// Nothing of the daemon's environment: it could change where NSS looks.
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, complaint
	// A group of its own, so that nothing that it started outlives the deadline.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second

	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case out.full: // before the rest: getent then died of a broken pipe
		return "", errTooLong
	case err == nil:
		return oneLine(out.kept.String())
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.As(err, &exit) && exit.ExitCode() == exitNotFound:
		return "", ErrNotFound
	case complaint.kept.Len() > 0:
		return "", fmt.Errorf("getent %s failed: %w: %q", database, err, strings.TrimSpace(complaint.kept.String()))
	default:
		return "", fmt.Errorf("getent %s failed: %w", database, err)
	}
}

// oneLine refuses an answer of several entries, of which none could be trusted to be
// the one that was asked for.
func oneLine(answer string) (string, error) {
	line, ended := strings.CutSuffix(answer, "\n")
	if !ended || strings.ContainsAny(line, "\n\r\x00") {
		return "", errors.New("getent's answer is not one line")
	}
	return line, nil
}

// limited keeps at most so many bytes. What is beyond is an error of the writer when
// err is set, which ends the program's output, and is dropped otherwise.
//
// The buffer is not embedded: io.Copy would then use its ReadFrom, and the bound
// would hold nothing.
type limited struct {
	kept bytes.Buffer
	most int
	err  error
	full bool
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	fits := min(len(p), l.most-l.kept.Len())
	l.kept.Write(p[:fits])
	if fits < len(p) && l.err != nil {
		l.full = true
		return fits, l.err
	}
	return len(p), nil
}
