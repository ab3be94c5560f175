package plugin

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// seeingFD is the descriptor on which the stand-in for podman finds a mount namespace
// that has the daemon's socket.
const seeingFD = 3

// podmanMain is podman whose main thread is in a mount namespace without the socket
// while another thread is in the one of seeingFD. It runs the plugin with args.
func podmanMain(args []string) int {
	entered := make(chan error)
	onOtherThread(func() {
		err := unix.Unshare(unix.CLONE_FS) // setns(2) wants it for a thread
		if err == nil {
			err = unix.Setns(seeingFD, unix.CLONE_NEWNS)
		}
		entered <- err
		select {} // the thread stays
	})
	if err := <-entered; err != nil {
		fmt.Fprintln(os.Stderr, "cannot enter the mount namespace:", err)
		return 2
	}
	unix.CloseOnExec(seeingFD)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), pluginEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return 1
	}
	return 0
}

// onOtherThread runs f, which does not return, on a thread that is not the main one
// and is nobody else's.
func onOtherThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onOtherThread(f)
			select {}
		}
		f()
	}()
}

// Podman unshares the mount namespace of whichever thread starts netavark. When that is
// the main one, /proc/<podman>/root lacks the socket; no other process that may be looked
// through has it.
func TestSocketSeenOnlyByAnotherThreadOfAnAncestor(t *testing.T) {
	testlab.RequireRoot(t)
	hidden := filepath.Join(shortDir(t), "run")
	if err := os.Mkdir(hidden, 0o755); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, filepath.Join(hidden, "d.sock"), answer(attached()))
	if err := os.Chmod(d.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	user := []string{"setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "unshare", "--user", "--map-root-user", "--mount"}
	// Everything up to podman is the same process: no shell stays behind that has the socket.
	script := `exec 3</proc/self/ns/mnt; exec unshare -m sh -ec 'mount -t tmpfs none ` + hidden +
		`; test ! -e ` + d.socket + `; ` + pluginEnv + `=` + isPodman + ` exec "$@"' sh "$@"`
	cmd, stdout, stderr := pluginCommand(t, document(d, exec1x), script, user, "setup", netnsPath)
	if err := cmd.Run(); err != nil || stdout.String() != attachedReply {
		t.Fatalf("%v, stdout %s, stderr %s", err, stdout, stderr)
	}
	if got := <-d.requests; got.attach.ContainerID != containerID {
		t.Errorf("sent %+v", got)
	}
}
