package testlab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// iscDhcpd is dhcpd of the Internet Systems Consortium, many a LAN's server still.
type iscDhcpd struct{}

func (iscDhcpd) conf(terms Terms) []string {
	conf := []string{
		fmt.Sprintf("range %s %s;", terms.First, terms.Last),
		fmt.Sprintf("default-lease-time %d; max-lease-time %[1]d;", seconds(terms.Lease)),
		// Else in the first quarter of a lease dhcpd confirms it without making it any longer.
		"dhcp-cache-threshold 0;",
	}
	for _, o := range []struct {
		name, code string
		value      int
	}{{"dhcp-renewal-time", "3a", seconds(terms.T1)}, {"dhcp-rebinding-time", "3b", seconds(terms.T2)}} {
		if o.value > 0 {
			// Else dhcpd sends these only to clients that ask for them.
			conf = append(conf, fmt.Sprintf("option %s %d; option dhcp-parameter-request-list = concat(option dhcp-parameter-request-list, %s);",
				o.name, o.value, o.code))
		}
	}
	return conf
}

const iscConf = `authoritative;
ddns-update-style none;
ping-check off;
subnet 192.0.2.0 netmask %s {
  default-lease-time 3600;
  max-lease-time 3600;
  option routers %s;
  option domain-name-servers %[2]s;
  %s
}
`

func (iscDhcpd) command(s *dhcpServer) (*exec.Cmd, error) {
	path, err := lookProgram("dhcpd", "isc-dhcp-server")
	if err != nil {
		return nil, err
	}
	// A copy, as AppArmor keeps the one in /usr/sbin from reading files of ours.
	program := filepath.Join(s.dir, "dhcpd")
	if _, err := os.Stat(program); err != nil {
		copyPlugin(s.t, path, program)
	}
	// A later statement replaces an earlier one, but a range is one more.
	statements := strings.Join(s.conf, "\n  ")
	if !s.configures("range ") {
		statements = fmt.Sprintf("range %s %s;\n  %s", lanFirst, lanLast, statements)
	}
	conf := filepath.Join(s.dir, "dhcpd.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, iscConf, lanMask, s.addr, statements), 0o644); err != nil {
		return nil, err
	}
	// dhcpd wants the file to exist.
	leases, err := os.OpenFile(s.leaseFile(), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	leases.Close()
	return exec.Command(program, "-4", "-f", "-d", "--no-pid", "-cf", conf, "-lf", s.leaseFile(), lanPort), nil
}

func (iscDhcpd) ready(s *dhcpServer, from int) error {
	return s.waitReady(from, "Server starting service.")
}

// leases is a log: what comes last about an address is true (dhcpd.leases(5)).
func (iscDhcpd) leases(s *dhcpServer) (string, error) {
	data, err := os.ReadFile(s.leaseFile())
	if os.IsNotExist(err) {
		err = nil
	}
	return string(data), err
}

func (iscDhcpd) holds(leases string, addr netip.Addr, now time.Time) bool {
	var about string
	var held, active, inTime bool
	for line := range strings.Lines(leases) {
		statement := strings.TrimRight(strings.TrimSpace(line), ";")
		fields := strings.Fields(statement)
		switch {
		case len(fields) == 3 && fields[0] == "lease":
			about, active, inTime = fields[1], false, false
		case statement == "binding state active":
			active = true
		case statement == "ends never":
			inTime = true
		case len(fields) == 4 && fields[0] == "ends":
			end, err := time.Parse("2006/01/02 15:04:05", fields[2]+" "+fields[3]) // UTC
			inTime = err == nil && now.Before(end)
		case statement == "}" && about == addr.String():
			held = active && inTime
		}
	}
	return held
}
