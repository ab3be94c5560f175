package testlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/osthread"
	"github.com/net-porter/net-porter/internal/unixdial"
)

// ops are the commands: how many arguments each takes (-1: any), and what it does.
var ops = map[string]struct {
	args int
	run  func(p *process, a []string) (string, error)
}{
	"mkdir":    {1, func(_ *process, a []string) (string, error) { return "", os.MkdirAll(a[0], 0o755) }},
	"chmod":    {2, chmod},
	"write":    {2, func(_ *process, a []string) (string, error) { return "", os.WriteFile(a[0], []byte(a[1]), 0o644) }},
	"read":     {1, func(_ *process, a []string) (string, error) { b, err := os.ReadFile(a[0]); return string(b), err }},
	"symlink":  {2, func(_ *process, a []string) (string, error) { return "", os.Symlink(a[0], a[1]) }},
	"readlink": {1, func(_ *process, a []string) (string, error) { return os.Readlink(a[0]) }},
	"mkfifo":   {1, func(_ *process, a []string) (string, error) { return "", unix.Mkfifo(a[0], 0o644) }},
	"remove":   {1, func(_ *process, a []string) (string, error) { return "", os.RemoveAll(a[0]) }},
	"bind":     {2, func(_ *process, a []string) (string, error) { return "", bind(a[0], a[1]) }},
	"tmpfs":    {1, func(_ *process, a []string) (string, error) { return "", unix.Mount("tmpfs", a[0], "tmpfs", 0, "") }},
	"umount":   {1, func(_ *process, a []string) (string, error) { return "", unix.Unmount(a[0], unix.MNT_DETACH) }},
	"chroot":   {1, func(_ *process, a []string) (string, error) { return "", unix.Chroot(a[0]) }},
	"netns":    {1, persistNetns},
	"nested":   {1, persistNestedNetns},
	"links":    {1, links},
	"flip":     {4, flip},
	"dial":     {1, dial},
	"listen":   {1, listen},
	"throng":   {1, throng},
	"hangup":   {0, hangup},
	"exec":     {-1, execute},
	"live":     {1, live},
}

func (p *process) run(op string, args []string) (string, error) {
	o, ok := ops[op]
	if !ok || (o.args >= 0 && o.args != len(args)) {
		return "", fmt.Errorf("no command %q with %d arguments", op, len(args))
	}
	return o.run(p, args)
}

func chmod(_ *process, a []string) (string, error) {
	mode, err := strconv.ParseUint(a[1], 8, 12)
	if err != nil {
		return "", err
	}
	return "", os.Chmod(a[0], os.FileMode(mode))
}

// bind makes the target, of the kind that the source is, and mounts.
func bind(src, dst string) error {
	if st, err := os.Stat(src); err != nil {
		return err
	} else if st.IsDir() {
		err = os.MkdirAll(dst, 0o755)
		if err != nil {
			return err
		}
	} else if f, err := os.OpenFile(dst, os.O_CREATE, 0o644); err != nil {
		return err
	} else {
		f.Close()
	}
	return unix.Mount(src, dst, "", unix.MS_BIND|unix.MS_REC, "")
}

// onThread runs fn on a thread that is never used again, and that is not the first
// one: the namespaces of that are what /proc/self shows.
func onThread(fn func() (string, error)) (out string, err error) {
	done := make(chan struct{})
	osthread.Run(func() (clean bool) {
		defer close(done)
		out, err = fn()
		return false
	})
	<-done
	return out, err
}

func persistNetns(_ *process, a []string) (string, error) {
	return onThread(func() (string, error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return "", err
		}
		return "", bind("/proc/thread-self/ns/net", a[0])
	})
}

func persistNestedNetns(_ *process, a []string) (string, error) {
	cmd := again(helperHold, unix.CLONE_NEWUSER|unix.CLONE_NEWNET, 1000)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	err = bind(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), a[0])
	stdin.Close()
	return "", errors.Join(err, cmd.Wait())
}

func links(_ *process, a []string) (string, error) {
	return onThread(func() (string, error) {
		if a[0] != "" {
			f, err := os.Open(a[0])
			if err != nil {
				return "", err
			}
			defer f.Close()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				return "", err
			}
		}
		list, err := net.Interfaces()
		var names []string
		for _, l := range list {
			names = append(names, l.Name)
		}
		return strings.Join(names, "\n"), err
	})
}

// flip makes path a symlink to the one target and to the other in turn, count
// times, with never a moment without.
func flip(_ *process, a []string) (string, error) {
	count, err := strconv.Atoi(a[3])
	if err != nil {
		return "", err
	}
	for i := range count {
		if err := os.Symlink(a[1+i%2], a[0]+".new"); err != nil {
			return "", err
		}
		if err := os.Rename(a[0]+".new", a[0]); err != nil {
			return "", err
		}
	}
	return "", nil
}

func dial(p *process, a []string) (string, error) {
	c, err := net.Dial("unix", a[0])
	if err == nil {
		p.conns = append(p.conns, c)
	}
	return "", err
}

// throng connects as often as it can, and holds what it gets for a while. It returns when
// the socket's backlog has been full once.
func throng(p *process, a []string) (string, error) {
	const connecting, held = 2, 256
	ctx, stop := context.WithCancel(context.Background())
	p.stops = append(p.stops, stop)
	outcome := make(chan error, 1)
	for range connecting {
		go func() {
			var conns [held]net.Conn
			for i := 0; ctx.Err() == nil; i = (i + 1) % held {
				c, err := net.Dial("unix", a[0])
				if err != nil {
					if !errors.Is(err, unix.EAGAIN) {
						stop()
					}
					select {
					case outcome <- err:
					default:
					}
					continue
				}
				if conns[i] != nil {
					conns[i].Close()
				}
				conns[i] = c
			}
			for _, c := range conns {
				if c != nil {
					c.Close()
				}
			}
		}()
	}
	if err := <-outcome; !errors.Is(err, unix.EAGAIN) {
		return "", err
	}
	return "", nil
}

func listen(_ *process, a []string) (string, error) {
	l, err := net.Listen("unix", a[0])
	if err == nil {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		err = l.Close()
	}
	return "", err
}

func hangup(p *process, _ []string) (string, error) {
	var all error
	for _, c := range p.conns {
		all = errors.Join(all, c.Close())
	}
	p.conns = nil
	for _, stop := range p.stops {
		stop()
	}
	p.stops = nil
	return "", all
}

func execute(_ *process, a []string) (string, error) {
	if len(a) == 0 {
		return "", errors.New("nothing to execute")
	}
	out, err := exec.Command(a[0], a[1:]...).CombinedOutput()
	return string(out), err
}

// live starts a process in a network namespace that lives until it is killed, or this
// one dies, and tells its id.
func live(p *process, a []string) (string, error) {
	cmd := exec.Command("nsenter", "--net="+a[0], "cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	// What comes back has been through cat: nsenter is in the namespace by now.
	_, err = stdin.Write([]byte{'.'})
	if err == nil {
		_, err = stdout.Read(make([]byte, 1))
	}
	p.living = append(p.living, stdin)
	go func() { _ = cmd.Wait() }()
	return strconv.Itoa(cmd.Process.Pid), err
}

func (p *process) request(socket string, r *Request) (*Response, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return unixdial.Dial(ctx, socket)
	}}
	ctx := context.Background()
	if r.HangUp > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.HangUp)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://localhost"+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	if host := r.Header.Get("Host"); host != "" {
		req.Host = host
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return &Response{Status: res.StatusCode, Header: res.Header, Body: body}, err
}
