package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
)

// hostPorts sees to it that a port of the host which portmap redirects into a
// container was nobody else's: no program's on the host, whose callers it would take,
// and no other container's.
type hostPorts struct {
	mu       sync.Mutex
	reserved map[hostPort]bool // for attachments that are not recorded yet
}

type hostPort struct {
	protocol string
	port     int
}

// inUse says nothing of whose it is: anybody on the host can find out this much.
func (p hostPort) inUse() error {
	problem := newProblem(api.InvalidRequest, fmt.Sprintf(
		"port_mappings: host port %d/%s is in use on this host: publish on another one, or end what uses it", p.port, p.protocol))
	problem.status = http.StatusConflict
	return problem
}

// publish checks the ports of an attachment and puts them into the request. Release
// gives them back, when the attachment is recorded or has failed.
func (s *Server) publish(q *attachment.Request, ports []api.PortMapping) (release func(), err error) {
	mappings, err := portMappings(ports, q.UID == 0)
	if err != nil {
		return nil, err
	}
	if q.Ports, err = json.Marshal(mappings); err != nil {
		return nil, fmt.Errorf("cannot encode port mappings: %w", err)
	}
	return s.hostPorts.reserve(mappings, q.Key, s.attachments.List)
}

// reserve takes the ports for an attachment until release, by when it has to be among
// the records. Those of the same container do not stand in its way: each of its
// interfaces gets all of its mappings.
func (h *hostPorts) reserve(mappings []portMapping, owner attachment.Key, records func() []*attachment.Record) (release func(), err error) {
	wanted := map[hostPort]bool{}
	for _, m := range mappings {
		wanted[hostPort{m.Protocol, m.HostPort}] = true
	}
	if err := h.take(wanted); err != nil {
		return nil, err
	}
	// Read only now: what was reserved and is not any more has its record.
	if err = unpublished(wanted, owner, records()); err == nil {
		err = unheld(mappings, owner.UID)
	}
	if err != nil {
		h.give(wanted)
		return nil, err
	}
	return func() { h.give(wanted) }, nil
}

func (h *hostPorts) take(wanted map[hostPort]bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reserved == nil {
		h.reserved = map[hostPort]bool{}
	}
	for p := range wanted {
		if h.reserved[p] {
			return p.inUse()
		}
	}
	for p := range wanted {
		h.reserved[p] = true
	}
	return nil
}

func (h *hostPorts) give(ports map[hostPort]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range ports {
		delete(h.reserved, p)
	}
}

// unpublished fails where another container's record has one of the ports.
func unpublished(wanted map[hostPort]bool, owner attachment.Key, records []*attachment.Record) error {
	for _, r := range records {
		if len(r.Ports) == 0 || r.UID == owner.UID && r.ContainerID == owner.ContainerID {
			continue
		}
		var theirs []portMapping
		if err := json.Unmarshal(r.Ports, &theirs); err != nil {
			return fmt.Errorf("cannot read the port mappings of %s: %w", r.Key, err)
		}
		for _, m := range theirs {
			if p := (hostPort{m.Protocol, m.HostPort}); wanted[p] {
				return p.inUse()
			}
		}
	}
	return nil
}

// unheld fails where a program on the host holds one of the ports, unless it is the
// user's own: rootless podman publishes ports itself, too, and is there already when
// `podman network reload` makes an interface anew.
func unheld(mappings []portMapping, uid uint32) error {
	held := holders{}
	for _, m := range mappings {
		port := hostPort{m.Protocol, m.HostPort}
		for _, address := range publishedOn(m.HostIP) {
			err := tryBind(m.Protocol, address, m.HostPort)
			switch {
			case err == nil:
			case errors.Is(err, unix.EADDRINUSE):
				mine, err := held.areAll(uid, port)
				if err != nil {
					return err
				}
				if !mine {
					return port.inUse()
				}
			case errors.Is(err, unix.EADDRNOTAVAIL) && address.IsUnspecified():
				// A host without addresses of that family.
			case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EINVAL):
				return invalid("port_mappings", "host_ip %s is not an address of this host", address)
			default:
				return fmt.Errorf("cannot tell whether host port %d/%s is in use: %w", m.HostPort, m.Protocol, err)
			}
		}
	}
	return nil
}

// publishedOn are the addresses to bind for a mapping's host_ip, which checkPorts has
// parsed before: all of IPv4 and all of IPv6 without one.
func publishedOn(hostIP string) []netip.Addr {
	address, err := netip.ParseAddr(hostIP)
	if err != nil {
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	return []netip.Addr{address.Unmap()}
}

// tryBind binds a port for a moment, as a program that wants it for itself: without
// SO_REUSEADDR, which would let it in beside others.
func tryBind(protocol string, address netip.Addr, port int) error {
	kind, number := unix.SOCK_STREAM, unix.IPPROTO_TCP
	switch protocol {
	case string(api.UDP):
		kind, number = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case string(api.Sctp):
		number = unix.IPPROTO_SCTP
	}
	family, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: port, Addr: address.As16()})
	if address.Is4() {
		family, at = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: address.As4()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, number)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		return nil // a kernel without it has nobody who holds it
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	return unix.Bind(fd, at)
}
