package server

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// holders has, for each protocol that was asked for, the users whose sockets have a
// port. It is read once, so that one request costs the same however many ports it has.
type holders map[string]map[int]map[uint32]bool

// areAll says whether it is certain that a port which is in use is so by the user's
// own sockets.
func (h holders) areAll(uid uint32, p hostPort) (bool, error) {
	if p.protocol != "tcp" && p.protocol != "udp" {
		return false, nil
	}
	if h[p.protocol] == nil {
		ports, err := readHolders(p.protocol)
		if err != nil {
			return false, err
		}
		h[p.protocol] = ports
	}
	users := h[p.protocol][p.port]
	return len(users) == 1 && users[uid], nil
}

// readHolders reads the kernel's tables of sockets of the host (proc_pid_net(5)).
func readHolders(protocol string) (map[int]map[uint32]bool, error) {
	ports := map[int]map[uint32]bool{}
	for _, name := range []string{protocol, protocol + "6"} {
		// Of this thread: the process's first may be in another namespace.
		file, err := os.Open("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read who holds which port: %w", err)
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if port, uid, ok := holder(lines.Text()); ok {
				if ports[port] == nil {
					ports[port] = map[uint32]bool{}
				}
				ports[port][uid] = true
			}
		}
		file.Close()
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("cannot read who holds which port: %w", err)
		}
	}
	return ports, nil
}

// holder reads a line: its number, the local address and port in hexadecimal, the
// remote ones, the state, queues, timers, retransmissions and the uid. A connection in
// TIME_WAIT is nobody's any more.
func holder(line string) (port int, uid uint32, ok bool) {
	const timeWait = "06"
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[3] == timeWait {
		return 0, 0, false
	}
	_, hex, _ := strings.Cut(fields[1], ":")
	p, portErr := strconv.ParseUint(hex, 16, 16)
	u, uidErr := strconv.ParseUint(fields[7], 10, 32)
	return int(p), uint32(u), portErr == nil && uidErr == nil
}
