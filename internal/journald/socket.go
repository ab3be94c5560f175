package journald

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// socketPath is where the journal takes entries.
const socketPath = "/run/systemd/journal/socket"

// sendTime bounds the wait for a journal whose queue is full.
const sendTime = 5 * time.Second

// sender sends entries to a socket. The address is looked up for each, so that a journal
// that was started anew is found again.
type sender struct {
	path string

	mu   sync.Mutex // since the deadline is the connection's
	conn *net.UnixConn
}

func newSender(path string) (*sender, error) {
	// Without a name of its own: nobody has to answer.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket for the journal: %w", err)
	}
	f := os.NewFile(uintptr(fd), "journal")
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket for the journal: %w", err)
	}
	return &sender{path: path, conn: c.(*net.UnixConn)}, nil
}

func (s *sender) send(e entry) error {
	err := s.write(e, nil)
	if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
		err = s.sendFile(e)
	}
	if err != nil {
		return fmt.Errorf("cannot write to the journal: %w", err)
	}
	return nil
}

func (s *sender) write(data, oob []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(sendTime)); err != nil {
		return err
	}
	_, _, err := s.conn.WriteMsgUnix(data, oob, &net.UnixAddr{Name: s.path, Net: "unixgram"})
	return err
}

// sendFile sends an entry that is too large for a datagram: as a memfd which cannot be
// changed any more, without which the journal does not take it (memfd_create(2)).
func (s *sender) sendFile(e entry) error {
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "journal-entry")
	defer f.Close()
	if _, err := f.Write(e); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		return err
	}
	return s.write(nil, unix.UnixRights(int(f.Fd())))
}
