package plugin

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// pluginCommand runs this test binary as the plugin, by a shell if script is given: "$@"
// in it is the plugin with its arguments.
func pluginCommand(t *testing.T, stdin, script string, wrapper []string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	// A copy, since the folder of go test's binary is closed to other users.
	self := filepath.Join(shortDir(t), "plugin")
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(self, program, 0o755); err != nil {
		t.Fatal(err)
	}
	argv := append([]string{self}, args...)
	if script != "" {
		argv = append(append(append([]string{}, wrapper...), "sh", "-ec", script, "sh"), argv...)
	}
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), pluginEnv+"=1")
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

func TestSignalEndsSetupAndTheDaemonHearsOfIt(t *testing.T) {
	for _, signal := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		asked, gone := make(chan struct{}), make(chan struct{})
		d := startDaemon(t, "", func(_ http.ResponseWriter, r *http.Request) {
			close(asked)
			<-r.Context().Done()
			close(gone)
		})
		cmd, stdout, _ := pluginCommand(t, document(d, exec1x), "", nil, "setup", netnsPath)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		_ = cmd.Process.Signal(signal)
		<-gone
		_ = cmd.Wait()
		if text := errorText(t, stdout.String()); cmd.ProcessState.ExitCode() != 1 || text != "net-porter: interrupted; the daemon takes back what it had begun" {
			t.Errorf("%v: exit %d, %q", signal, cmd.ProcessState.ExitCode(), text)
		}
	}
}

// Podman that is killed in the middle of a setup would never ask for the interface's end.
func TestSetupEndsWithPodmanAndNetavark(t *testing.T) {
	for _, netavark := range []bool{true, false} {
		asked, gone := make(chan struct{}), make(chan struct{})
		d := startDaemon(t, "", func(_ http.ResponseWriter, r *http.Request) {
			close(asked)
			<-r.Context().Done()
			close(gone)
		})
		script := `"$@"; exit` // this shell is netavark
		if !netavark {
			script = `sh -ec '"$@"; exit' sh "$@"; exit` // this one is podman, the next netavark
		}
		cmd, _, _ := pluginCommand(t, document(d, exec1x), script, nil, "setup", netnsPath)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		_ = cmd.Process.Kill()
		<-gone
		_ = cmd.Wait()
	}
}

func TestSignalsDoNotEndTeardown(t *testing.T) {
	asked, signalled := make(chan struct{}), make(chan struct{})
	d := startDaemon(t, "", func(w http.ResponseWriter, r *http.Request) { close(asked); <-signalled; noContent(w, r) })
	cmd, _, stderr := pluginCommand(t, document(d, exec1x), "", nil, "teardown", netnsPath)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	for _, signal := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		_ = cmd.Process.Signal(signal)
	}
	close(signalled)
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("%v, stderr %s", err, stderr)
	}
}

// What netavark does for rootless podman: the plugin runs in a mount namespace without
// the daemon's socket, two processes below podman, which has it, all in podman's user
// namespace. The socket is open to a group only.
func TestSocketSeenOnlyByAnAncestor(t *testing.T) {
	testlab.RequireRoot(t)
	const uid, gid, group = 54321, 54321, 54322
	dir := shortDir(t)
	hidden := filepath.Join(dir, "run")
	for _, sub := range []string{"run", "run/real"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d := startDaemon(t, filepath.Join(hidden, "real", "d.sock"), answer(attached()))
	if err := os.Chown(d.socket, 0, group); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.socket, 0o660); err != nil {
		t.Fatal(err)
	}
	// An absolute link must be followed in the ancestor's root, not in the plugin's own.
	link := filepath.Join(hidden, "link.sock")
	if err := os.Symlink(d.socket, link); err != nil {
		t.Fatal(err)
	}
	as := func(groups string) []string {
		return []string{"setpriv", fmt.Sprint("--reuid=", uid), fmt.Sprint("--regid=", gid), groups, "unshare", "--user", "--map-root-user", "--mount"}
	}
	member, stranger := as(fmt.Sprint("--groups=", group)), as("--clear-groups")
	mount := `mount -t tmpfs none ` + hidden + `; test ! -e ` + link + `; `
	tests := []struct {
		name, script, socket string
		wrapper              []string
		wantErr              string
	}{
		{"parent", `unshare -m sh -ec '` + mount + `exec "$@"' sh "$@"; exit`, d.socket, member, ""},
		{"grandparent", `unshare -m sh -ec '` + mount + `"$@"; exit' sh "$@"; exit`, d.socket, member, ""},
		{"link", `unshare -m sh -ec '` + mount + `"$@"; exit' sh "$@"; exit`, link, member, ""},
		{"not in the group", `unshare -m sh -ec '` + mount + `"$@"; exit' sh "$@"; exit`, d.socket, stranger, "net-porter: permission denied on the daemon's socket " + d.socket + ": you are not in its group"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdin := strings.ReplaceAll(exec1x, "SOCKET", tt.socket)
			cmd, stdout, stderr := pluginCommand(t, stdin, tt.script, tt.wrapper, "setup", netnsPath)
			err := cmd.Run()
			if tt.wantErr != "" {
				if err == nil || !strings.HasPrefix(errorText(t, stdout.String()), tt.wantErr) {
					t.Errorf("%v, stdout %s, stderr %s", err, stdout, stderr)
				}
				return
			}
			if err != nil || stdout.String() != attachedReply {
				t.Fatalf("%v, stdout %s, stderr %s", err, stdout, stderr)
			}
			if got := <-d.requests; got.attach.ContainerID != containerID {
				t.Errorf("sent %+v", got)
			}
		})
	}
}

func TestPermissionDeniedNamesTheGroup(t *testing.T) {
	testlab.RequireRoot(t)
	dir := shortDir(t)
	d := startDaemon(t, filepath.Join(dir, "d.sock"), answer(attached()))
	if err := os.Chown(d.socket, 0, 1); err != nil { // "daemon" on every Debian and Fedora; else its number
		t.Fatal(err)
	}
	if err := os.Chmod(d.socket, 0o660); err != nil {
		t.Fatal(err)
	}
	nobody := []string{"setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"}
	cmd, stdout, _ := pluginCommand(t, document(d, exec1x), `exec "$@"`, nobody, "setup", netnsPath)
	_ = cmd.Run()
	text := errorText(t, stdout.String())
	if want := "sudo usermod -aG " + groupName(1) + " $USER"; !strings.Contains(text, want) || !strings.Contains(text, "next login") {
		t.Errorf("%q lacks %q", text, want)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd, stdout, _ = pluginCommand(t, document(d, exec1x), `exec "$@"`, nobody, "setup", netnsPath)
	_ = cmd.Run()
	if text := errorText(t, stdout.String()); !strings.Contains(text, "a directory on the way to the daemon's socket") {
		t.Errorf("%q", text)
	}
}
