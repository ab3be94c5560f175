package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Conn speaks to nf_tables of the network namespace in which it was opened. It is used by
// one goroutine at a time.
type Conn struct {
	fd   int
	port uint32
	seq  uint32
}

// Sizes of a socket's buffers: a thousand attachments are written in one message, and the
// kernel answers a batch that fails with an error for each change in it.
const socketBuffer = 8 << 20

// Open opens a socket in the network namespace of the calling thread.
func Open() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket for nf_tables: %w", err)
	}
	c := &Conn{fd: fd}
	if err := c.prepare(); err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot prepare a netlink socket for nf_tables: %w", err)
	}
	return c, nil
}

func (c *Conn) prepare() error {
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(c.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	c.port = name.(*unix.SockaddrNetlink).Pid
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer},
		{unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1}, // errors without what they are about
	} {
		if err := unix.SetsockoptInt(c.fd, option.level, option.name, option.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	// The kernel has answered by the time that a message is sent; this is for the case
	// that it has not.
	bound := unix.Timeval{Sec: 10}
	return os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &bound))
}

// Close closes the socket.
func (c *Conn) Close() { _ = unix.Close(c.fd) }

// Port is the netlink port by which the changes of this socket are known (Event).
func (c *Conn) Port() uint32 { return c.port }

// Apply makes the changes of a batch, all or none.
func (c *Conn) Apply(b *Batch) error { return c.send(b, true) }

// Check finds out whether the changes of a batch could be made, and makes none.
func (c *Conn) Check(b *Batch) error { return c.send(b, false) }

// send sends a batch in one message. Without an end the kernel checks it only.
func (c *Conn) send(b *Batch, commit bool) error {
	if b.count == 0 {
		return nil
	}
	first := c.seq + 1
	c.seq += b.count + 2
	whole := Batch{data: make([]byte, 0, len(b.data)+64), count: first}
	whole.message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	from := len(whole.data)
	whole.data = append(whole.data, b.data...)
	var last []byte
	for rest := whole.data[from:]; len(rest) > 0; rest = rest[binary.NativeEndian.Uint32(rest):] {
		last = rest
		binary.NativeEndian.PutUint32(rest[8:], whole.count)
		whole.count++
	}
	flags := binary.NativeEndian.Uint16(last[6:])
	binary.NativeEndian.PutUint16(last[6:], flags|unix.NLM_F_ACK)
	if commit {
		whole.message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	}
	if err := unix.Sendto(c.fd, whole.data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("cannot write to nf_tables: %w", err)
	}
	return c.await(first, first+b.count)
}

// await reads until the last change is acknowledged, or the whole batch refused, and
// returns the first error.
func (c *Conn) await(first, last uint32) error {
	var failed error
	for {
		end := false
		err := c.receive(func(m message) {
			if m.kind != unix.NLMSG_ERROR || len(m.body) < 4 || m.seq < first || m.seq > last {
				return
			}
			errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.body)))
			if errno != 0 && failed == nil {
				failed = fmt.Errorf("nf_tables refuses change %d of %d: %w", m.seq-first, last-first, errno)
			}
			end = end || m.seq == last || m.seq == first
		})
		if err != nil {
			return errors.Join(failed, err)
		}
		if end {
			return failed
		}
	}
}

// message is a netlink message of the kernel's.
type message struct {
	kind, flags uint16
	seq         uint32
	body        []byte
}

// receive reads one datagram.
func (c *Conn) receive(fn func(message)) error {
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := unix.Recvfrom(c.fd, buffer, 0)
		switch sender, ok := from.(*unix.SockaddrNetlink); {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("cannot read from nf_tables: %w", err)
		case !ok || sender.Pid != 0: // anybody can send to a port; the kernel's is 0
			continue
		}
		messages(buffer[:n], fn)
		return nil
	}
}

func messages(data []byte, fn func(message)) {
	for len(data) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(data))
		if size < unix.NLMSG_HDRLEN || size > len(data) {
			return
		}
		fn(message{
			kind: binary.NativeEndian.Uint16(data[4:]), flags: binary.NativeEndian.Uint16(data[6:]),
			seq: binary.NativeEndian.Uint32(data[8:]), body: data[unix.NLMSG_HDRLEN:size],
		})
		data = data[min(len(data), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
}
