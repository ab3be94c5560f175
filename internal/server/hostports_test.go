package server

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/testlab"
)

func noRecords() []*attachment.Record { return nil }

// Two attaches that want the same port at the same time: one gets it.
func TestReservedPortIsInUse(t *testing.T) {
	testlab.RequireRoot(t)
	var h hostPorts
	web := []portMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, {HostPort: 8080, ContainerPort: 80, Protocol: "tcp", HostIP: "127.0.0.1"}}
	first := attachment.Key{UID: 1000, ContainerID: "a", Interface: "eth0"}
	second := attachment.Key{UID: 1002, ContainerID: "b", Interface: "eth0"}
	release, err := h.reserve(web, first, noRecords)
	ok(t, err)
	if _, err := h.reserve(web, second, noRecords); err == nil || problemOf(err).status != http.StatusConflict {
		t.Errorf("a port that is being given away: %v", err)
	}
	other := []portMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "udp"}}
	releaseOther, err := h.reserve(other, second, noRecords)
	ok(t, err)
	releaseOther()
	release()
	// From now on it is the record that tells.
	recorded := func() []*attachment.Record {
		return []*attachment.Record{{Key: first, Ports: must(json.Marshal(web))(t)}}
	}
	if _, err := h.reserve(web, second, recorded); err == nil {
		t.Error("a port of another's attachment is given away")
	}
	// A container has the same mappings on each of its interfaces.
	first.Interface = "eth1"
	release, err = h.reserve(web, first, recorded)
	ok(t, err)
	release()
}

// Rootless podman holds the ports that it publishes itself, and comes again with
// `podman network reload`.
func TestPortHeldByTheCaller(t *testing.T) {
	testlab.RequireRoot(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	var h hostPorts
	mappings := []portMapping{{HostPort: port, ContainerPort: 80, Protocol: "tcp"}}
	release, err := h.reserve(mappings, attachment.Key{UID: uint32(os.Getuid()), ContainerID: "a"}, noRecords)
	ok(t, err)
	release()
	for range 2 { // a refusal leaves no reservation
		_, err := h.reserve(mappings, attachment.Key{UID: 1000, ContainerID: "a"}, noRecords)
		if err == nil || problemOf(err).code != api.InvalidRequest || problemOf(err).detail == "" {
			t.Errorf("root's port is given away: %v", err)
		}
	}
	udp := must(net.ListenPacket("udp", "127.0.0.1:0"))(t)
	defer udp.Close()
	mappings = []portMapping{{HostPort: udp.LocalAddr().(*net.UDPAddr).Port, ContainerPort: 80, Protocol: "udp"}}
	release, err = h.reserve(mappings, attachment.Key{UID: uint32(os.Getuid()), ContainerID: "a"}, noRecords)
	ok(t, err)
	release()
}

// The kernel's setting says which ports are root's, not a number of ours.
func TestFirstUserPort(t *testing.T) {
	testlab.RequireRoot(t)
	const file = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
	before := must(os.ReadFile(file))(t)
	t.Cleanup(func() { ok(t, os.WriteFile(file, before, 0)) })
	for first, allowed := range map[int]map[int]bool{80: {79: false, 80: true}, 2000: {1999: false, 2000: true}} {
		ok(t, os.WriteFile(file, []byte(strconv.Itoa(first)), 0))
		for port, want := range allowed {
			_, err := portMappings([]api.PortMapping{{HostPort: port, ContainerPort: 1, Range: 1, Protocol: api.TCP}}, false)
			if got := err == nil; got != want {
				t.Errorf("port %d where users' ports begin with %d: %v", port, first, err)
			}
		}
	}
}

// Lines as proc_pid_net(5) has them.
func TestHolder(t *testing.T) {
	tests := []struct {
		name, line string
		port       int
		uid        uint32
		ok         bool
	}{
		{"the head", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode", 0, 0, false},
		{"a listener", "   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0", 5432, 1000, true},
		{"of IPv6", "   1: 00000000000000000000000001000000:1539 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  26 0 1", 5433, 26, true},
		{"over", "   2: 0100007F:1538 0100007F:C350 06 00000000:00000000 03:00001770 00000000     0        0 0 3", 0, 0, false},
		{"nothing", "", 0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if port, uid, ok := holder(tt.line); ok != tt.ok || ok && (port != tt.port || uid != tt.uid) {
				t.Errorf("got port %d, uid %d, %v", port, uid, ok)
			}
		})
	}
}
