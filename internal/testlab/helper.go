package testlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// helperEnv names a helper for a re-executed test binary to run in place of tests.
const helperEnv = "NET_PORTER_TESTLAB_HELPER"

// The helpers. The first is a process that obeys commands on descriptor 3; the
// others make namespaces, which the kernel gives to the user of the process that
// asks, so it must be an unprivileged process that asks.
const (
	helperUser           = "user"
	helperSandbox        = "sandbox"
	helperSandboxHostNet = "sandbox-host-net"
	helperHold           = "hold"
)

// controlFD is where a helper finds the socket that its commands come from.
const controlFD = 3

func runHelper(name string) int {
	var err error
	switch name {
	case helperUser:
		err = obey()
	case helperSandbox:
		err = runInside(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET)
	case helperSandboxHostNet:
		err = runInside(unix.CLONE_NEWUSER | unix.CLONE_NEWNS)
	case helperHold:
		_, err = io.Copy(io.Discard, os.Stdin)
	default:
		err = fmt.Errorf("unknown helper %q", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testlab:", err)
		return 1
	}
	return 0
}

// again is a command that runs this program again as another helper, in the
// namespaces of flags. With CLONE_NEWUSER this user is inner inside.
func again(helper string, flags uintptr, inner int) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), helperEnv+"="+helper)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: inner, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: inner, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

func runInside(flags uintptr) error {
	control := os.NewFile(controlFD, "control")
	cmd := again(helperUser, flags, 0)
	cmd.ExtraFiles = []*os.File{control}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot unshare: %w", err)
	}
	control.Close() // the child must see the end of file when the test is over
	return cmd.Wait()
}

// message is a command to a helper.
type message struct {
	Op      string
	Args    []string
	Request *Request
}

// reply is a helper's answer to one message.
type reply struct {
	Out      string
	Err      string
	Response *Response
}

// obey says its process id, then runs one command after another until the other
// end is gone.
func obey() error {
	control := os.NewFile(controlFD, "control")
	unix.CloseOnExec(controlFD)
	in, out := json.NewDecoder(control), json.NewEncoder(control)
	if err := out.Encode(reply{Out: strconv.Itoa(os.Getpid())}); err != nil {
		return err
	}
	p := &process{}
	for {
		var m message
		if err := in.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var r reply
		var err error
		if m.Request != nil {
			r.Response, err = p.request(m.Args[0], m.Request)
		} else {
			r.Out, err = p.run(m.Op, m.Args)
		}
		if err != nil {
			r.Err = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

// process is the state of an obeying helper.
type process struct {
	conns  []net.Conn
	stops  []func()
	living []io.Closer // of live: what their processes wait for
}
