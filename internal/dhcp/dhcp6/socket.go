package dhcp6

import (
	"context"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a datagram socket in Go's poller: whoever waits for it holds no thread.
type socket struct {
	file *os.File
	raw  syscall.RawConn
}

// openSocket opens a socket(2) in the thread's namespace.
func openSocket(domain, kind, protocol int) (*socket, error) {
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	s := &socket{file: os.NewFile(uintptr(fd), "dhcp6")}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket) close() { s.file.Close() }

func (s *socket) control(fn func(fd int) error) error {
	var fnErr error
	if err := s.raw.Control(func(fd uintptr) { fnErr = fn(int(fd)) }); err != nil {
		return err
	}
	return fnErr
}

func (s *socket) send(b []byte, to unix.Sockaddr) error {
	var sendErr error
	err := s.raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), b, 0, to)
		return sendErr != unix.EAGAIN
	})
	if err == nil {
		err = sendErr
	}
	return err
}

// receive returns the length of the next datagram, which can be more than b holds
// (recv(2), MSG_TRUNC), or os.ErrDeadlineExceeded at the deadline or when ctx ends. A
// zero deadline is none.
func (s *socket) receive(ctx context.Context, deadline time.Time, b []byte) (n int, from unix.Sockaddr, err error) {
	if err := s.file.SetReadDeadline(deadline); err != nil {
		return 0, nil, err
	}
	// Registered after the deadline is set, so that it has the last word; and waited for,
	// so that it has none in the next call.
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = s.file.SetReadDeadline(time.Unix(1, 0))
		close(ended)
	})
	defer func() {
		if !stop() {
			<-ended
		}
	}()
	var recvErr error
	err = s.raw.Read(func(fd uintptr) bool {
		n, from, recvErr = unix.Recvfrom(int(fd), b, unix.MSG_TRUNC)
		return recvErr != unix.EAGAIN
	})
	if err == nil {
		err = recvErr // else the EAGAIN of the last try, before err ended the wait
	}
	return n, from, err
}
