package dhcp6

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// maxText is how much of a status message is passed on, in bytes.
const maxText = 100

// reply is what a server says to this client. Nothing in it refers to the frame.
type reply struct {
	kind        dhcpv6.MessageType // ADVERTISE or REPLY
	from        netip.Addr
	server      []byte // DUID
	preference  uint8
	rapidCommit bool
	status      status // the first that is not Success
	t1, t2      uint32 // of the IA_NA, seconds
	addrs       []iaAddr

	dns, ntp []netip.Addr
	search   []string
}

// iaAddr is an address of the IA_NA. A server takes it back with lifetimes of 0.
type iaAddr struct {
	netip.Addr
	preferred, valid uint32 // seconds
}

// status is a status code option (RFC 8415, section 21.13).
type status struct {
	code iana.StatusCode
	text string // printable
}

// String continues a sentence that begins with the server.
func (s status) String() string {
	if s.text == "" {
		return " says " + s.code.String()
	}
	return fmt.Sprintf(" says %s, %q", s.code, s.text)
}

// parseReply reads a server's message to the client of p (RFC 8415, section 16.3 and
// 16.10). A panic of the decoder, whose input any host of the LAN can write, becomes an
// error.
func parseReply(b []byte, p *Params) (r *reply, err error) {
	defer recoverParse(&err)
	if len(b) < dhcpv6.MessageHeaderSize {
		return nil, errors.New("it is shorter than a header")
	}
	r = &reply{kind: dhcpv6.MessageType(b[0])}
	if r.kind != dhcpv6.MessageTypeAdvertise && r.kind != dhcpv6.MessageTypeReply {
		return nil, errors.New("it is no message from a server")
	}
	opts, err := parseOptions(b[dhcpv6.MessageHeaderSize:])
	if err != nil {
		return nil, err
	}
	if client, ok := opts.single(optClientID); !ok || !bytes.Equal(client, p.DUID) {
		return nil, errors.New("it is for another client")
	}
	server, ok := opts.single(optServerID)
	if !ok || len(server) < minDUID || len(server) > maxDUID {
		return nil, errors.New("it names no server")
	}
	r.server = bytes.Clone(server)
	if v := opts.first(optPreference); len(v) == 1 {
		r.preference = v[0]
	}
	_, r.rapidCommit = opts.single(optRapidCommit)
	r.status = parseStatus(opts)
	for _, v := range opts.all(optIANA) {
		if r.parseIA(v, p.IAID) {
			break
		}
	}
	r.dns = parseAddrs(opts.first(optDNS))
	r.search = parseSearch(opts.first(optSearch))
	if r.ntp = parseNTP(opts.all(optNTP)); len(r.ntp) == 0 {
		r.ntp = parseAddrs(opts.first(optSNTP)) // RFC 5908, section 6
	}
	return r, nil
}

func recoverParse(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the frame made its parser panic: %v", p)
	}
}

// options are the options of one level of a message.
type options []dhcpv6.Option

// parseOptions leaves the values as they stand in b.
func parseOptions(b []byte) (options, error) {
	var opts dhcpv6.Options
	err := opts.FromBytesWithParser(b, func(code dhcpv6.OptionCode, data []byte) (dhcpv6.Option, error) {
		return &dhcpv6.OptionGeneric{OptionCode: code, OptionData: data}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("its options are malformed: %w", err)
	}
	return options(opts), nil
}

func (o options) all(code uint16) [][]byte {
	var values [][]byte
	for _, opt := range o {
		if opt.Code() == dhcpv6.OptionCode(code) {
			values = append(values, opt.ToBytes())
		}
	}
	return values
}

func (o options) first(code uint16) []byte {
	if values := o.all(code); len(values) > 0 {
		return values[0]
	}
	return nil
}

// single is the value of an option that must not come twice.
func (o options) single(code uint16) ([]byte, bool) {
	values := o.all(code)
	if len(values) != 1 {
		return nil, false
	}
	return values[0], true
}

// parseStatus reads the status of one level of a message. None is the same as Success
// (RFC 8415, section 21.13).
func parseStatus(opts options) status {
	v := opts.first(optStatusCode)
	if len(v) < 2 {
		return status{}
	}
	code := iana.StatusCode(binary.BigEndian.Uint16(v))
	if code == iana.StatusSuccess {
		return status{}
	}
	return status{code, printable(v[2:])}
}

func (s status) ok() bool { return s.code == iana.StatusSuccess }

func printable(b []byte) string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(b))
	return text[:min(len(text), maxText)]
}

// parseIA tells whether v is the client's IA_NA. One with T1 after T2 is as if it were
// not there (RFC 8415, section 21.4), as is one that is malformed.
func (r *reply) parseIA(v []byte, iaid uint32) bool {
	if len(v) < 12 || binary.BigEndian.Uint32(v) != iaid {
		return false
	}
	t1, t2 := binary.BigEndian.Uint32(v[4:]), binary.BigEndian.Uint32(v[8:])
	if t1 > t2 && t2 > 0 {
		return false
	}
	opts, err := parseOptions(v[12:])
	if err != nil {
		return false
	}
	r.t1, r.t2 = t1, t2
	if r.status.ok() {
		r.status = parseStatus(opts)
	}
	var last status
	for _, v := range opts.all(optIAAddr) {
		a, st, ok := parseIAAddr(v)
		if ok && len(r.addrs) < maxAddrs {
			r.addrs = append(r.addrs, a)
		} else if !st.ok() {
			last = st
		}
	}
	if len(r.addrs) == 0 && r.status.ok() {
		r.status = last
	}
	return true
}

// parseIAAddr leaves out what no host can use, an address that is preferred for longer
// than it is valid (RFC 8415, section 21.6), and one whose status is not Success.
func parseIAAddr(v []byte) (a iaAddr, st status, ok bool) {
	if len(v) < 24 {
		return iaAddr{}, status{}, false
	}
	opts, err := parseOptions(v[24:])
	if err != nil {
		return iaAddr{}, status{}, false
	}
	a = iaAddr{netip.AddrFrom16([16]byte(v)), binary.BigEndian.Uint32(v[16:]), binary.BigEndian.Uint32(v[20:])}
	st = parseStatus(opts)
	return a, st, st.ok() && usable(a.Addr) && a.preferred <= a.valid
}
