package testlab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

type dnsmasq struct{}

func (dnsmasq) conf(terms Terms) []string {
	args := []string{fmt.Sprintf("--dhcp-range=%s,%s,%s,%d", terms.First, terms.Last, lanMask, max(seconds(terms.Lease), 120))}
	if terms.T1 > 0 {
		args = append(args, fmt.Sprintf("--dhcp-option-force=option:T1,%d", seconds(terms.T1)))
	}
	if terms.T2 > 0 {
		args = append(args, fmt.Sprintf("--dhcp-option-force=option:T2,%d", seconds(terms.T2)))
	}
	return args
}

func (dnsmasq) command(s *dhcpServer) (*exec.Cmd, error) {
	path, err := lookProgram("dnsmasq", "dnsmasq-base")
	if err != nil {
		return nil, err
	}
	args := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
		"--interface=" + lanPort, "--except-interface=lo", "--bind-interfaces",
		"--no-ping", "--dhcp-authoritative", "--log-dhcp", "--log-facility=-",
		"--dhcp-leasefile=" + s.leaseFile(),
	}
	args = append(args, s.conf...)
	if !s.configures("--dhcp-range=") {
		args = append(args, Dnsmasq.Conf(Terms{})...)
	}
	return exec.Command(path, args...), nil
}

// ready waits for what dnsmasq says after its sockets are open.
func (dnsmasq) ready(s *dhcpServer, from int) error {
	return s.waitReady(from, "DHCP, sockets bound exclusively to interface "+lanPort)
}

// leases reads until two times give the same: dnsmasq empties and rewrites the file in place.
// That it is empty is believed after some time only.
func (dnsmasq) leases(s *dhcpServer) (string, error) {
	for last := "never read"; ; {
		data, err := os.ReadFile(s.leaseFile())
		if err != nil && !os.IsNotExist(err) {
			return "", err
		}
		if string(data) == last {
			return last, nil
		}
		if last = string(data); last == "" {
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func (dnsmasq) holds(leases string, addr netip.Addr, now time.Time) bool {
	for line := range strings.Lines(leases) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != addr.String() {
			continue
		}
		end, err := strconv.ParseInt(fields[0], 10, 64)
		return err == nil && (end == 0 || now.Before(time.Unix(end, 0))) // 0: for ever
	}
	return false
}
