package dhcp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// maxOptionLen is the most that one DHCPv4 option carries (RFC 2132, section 2).
const maxOptionLen = 255

// maxUIDSuffix is "." and the decimal digits of a uid.
const maxUIDSuffix = 11

// netConf is the configuration that the IPAM plugin gets on stdin and hands on:
// the calling plugin's whole one. The keys are those of CNI's dhcp plugin, and two of
// our own, which it ignores.
type netConf struct {
	types.NetConf
	Master          string `json:"master"`
	Bridge          string `json:"bridge"`
	LinkInContainer bool   `json:"linkInContainer"`

	IPAM *struct {
		Request []struct {
			SkipDefault bool   `json:"skipDefault"`
			Option      string `json:"option"`
		} `json:"request"`
		Provide []struct {
			Option  string `json:"option"`
			Value   string `json:"value"`
			FromArg string `json:"fromArg"`
		} `json:"provide"`
		Priority int   `json:"priority"`
		IPv4     *bool `json:"ipv4"` // default true
		IPv6     bool  `json:"ipv6"`
	} `json:"ipam"`
}

// request is what the configuration makes a client say of itself and ask for.
type request struct {
	network  string
	parent   string
	hostName string // as sent in option 12 or, the last word, option 81
	fqdn     string
	clientID []byte // of "provide"; nil: the attachment's identity
	// clientIDNamed: it comes from an argument, which is the user's choice.
	clientIDNamed bool
	options       []grant.Option
	codes         []byte // option 55, in order
	priority      int    // metric of the routes
	families      []Family
}

// alwaysAsked is recorded for resolv.conf whatever the configuration says.
func alwaysAsked() []byte {
	return []byte{dhcp4.OptDNS, dhcp4.OptDomainName, dhcp4.OptDomainSearch}
}

// askedByDefault has classless static routes before routers, as RFC 3442 demands.
func askedByDefault() []byte {
	return []byte{
		dhcp4.OptSubnetMask, dhcp4.OptClasslessRoutes, dhcp4.OptRouters, dhcp4.OptStaticRoutes, dhcp4.OptMTU, dhcp4.OptNTP,
	}
}

// parseRequest reads the configuration and CNI_ARGS of a call. Its errors wrap
// ErrInvalid and name the key to be corrected.
func parseRequest(cniArgs string, stdin []byte) (*request, error) {
	var conf netConf
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return nil, fmt.Errorf("network configuration: %w: %w", ErrInvalid, plainly(err))
	}
	if err := checkSpelling(stdin); err != nil {
		return nil, err
	}
	if conf.IPAM == nil {
		return nil, fmt.Errorf("network configuration: %w: no \"ipam\"", ErrInvalid)
	}
	r := &request{network: conf.Name, parent: cmp.Or(conf.Master, conf.Bridge), priority: conf.IPAM.Priority}
	if conf.LinkInContainer {
		r.parent = ""
	}
	if conf.IPAM.IPv4 == nil || *conf.IPAM.IPv4 {
		r.families = append(r.families, IPv4)
	}
	if conf.IPAM.IPv6 {
		r.families = append(r.families, IPv6)
	}
	if len(r.families) == 0 {
		return nil, fmt.Errorf("ipam: %w: with \"ipv4\": false it needs \"ipv6\": true", ErrInvalid)
	}
	if err := r.provide(&conf, parseArgs(cniArgs)); err != nil {
		return nil, err
	}
	return r, r.ask(&conf)
}

// GrantsIPv4 says whether a plugin's configuration, which CheckConfig finds right, asks a
// server for an IPv4 address.
func GrantsIPv4(plugin []byte) bool {
	r, err := parseRequest("", plugin)
	return err == nil && slices.Contains(r.families, IPv4)
}

// CheckConfig says what is wrong with the configuration of a plugin whose "ipam" is of
// type "dhcp". Its errors wrap ErrInvalid and name the key to be corrected.
func CheckConfig(plugin []byte) error {
	_, err := parseRequest("", plugin)
	return err
}

func (r *request) ask(conf *netConf) error {
	codes := askedByDefault()
	for _, e := range conf.IPAM.Request {
		if e.SkipDefault {
			codes = nil
		}
	}
	for _, e := range conf.IPAM.Request {
		if e.Option == "" {
			continue
		}
		code, err := dhcp4.OptionCode(e.Option)
		if err != nil {
			return fmt.Errorf("ipam.request: %w: %w", ErrInvalid, err)
		}
		codes = append(codes, code)
	}
	for _, code := range append(codes, alwaysAsked()...) {
		if !slices.Contains(r.codes, code) {
			r.codes = append(r.codes, code)
		}
	}
	return nil
}

func (r *request) provide(conf *netConf, args map[string]string) error {
	for _, e := range conf.IPAM.Provide {
		code, err := dhcp4.OptionCode(e.Option)
		if err != nil {
			return fmt.Errorf("ipam.provide: %w: %w", ErrInvalid, err)
		}
		if dhcp4.IsReserved(code) {
			return fmt.Errorf("ipam.provide: option %q: %w: the DHCP client sets it itself", e.Option, ErrInvalid)
		}
		if e.Value == "" && e.FromArg == "" {
			return fmt.Errorf("ipam.provide: option %q: %w: it needs a \"value\" or a \"fromArg\"", e.Option, ErrInvalid)
		}
		if e.FromArg != "" && !slices.Contains(KnownArgs(), e.FromArg) {
			return fmt.Errorf("ipam.provide: option %q: %w: there is no argument %.64q; there are %s", e.Option, ErrInvalid, e.FromArg, strings.Join(KnownArgs(), ", "))
		}
		value, named := e.Value, false
		if arg, given := args[e.FromArg]; given && e.FromArg != "" {
			value, named = arg, true
		}
		if err := r.provideOne(code, e.Option, value, named); err != nil {
			return err
		}
	}
	if r.fqdn != "" {
		r.options = slices.DeleteFunc(r.options, func(o grant.Option) bool { return o.Code == dhcp4.OptHostName })
	}
	return nil
}

// provideOne takes one option. Named says that the value is a user's choice, not the
// administrator's.
func (r *request) provideOne(code byte, option, value string, named bool) error {
	if code == dhcp4.OptHostName || code == dhcp4.OptFQDN {
		if named {
			// A container's name may have characters that a host name has not, and
			// its owner cannot change the resource: send what is left.
			value = hostNameFrom(value)
		} else if value != "" && !grant.ValidDomain(strings.TrimSuffix(value, ".")) {
			return fmt.Errorf("ipam.provide: host name %.64q: %w: want labels of letters, digits and '-', joined by '.'", value, ErrInvalid)
		}
	}
	switch {
	case value == "":
		return nil
	case len(value) > maxOptionLen || named && code == dhcp4.OptClientID && len(value) > maxOptionLen-maxUIDSuffix:
		return fmt.Errorf("ipam.provide: option %q: %w: a value has at most %d bytes, this one %d", option, ErrInvalid, maxOptionLen, len(value))
	case code == dhcp4.OptClientID && len(value) < 2:
		return fmt.Errorf("ipam.provide: option %q: %w: a client id has at least 2 bytes (RFC 2132, section 9.14)", option, ErrInvalid)
	case code == dhcp4.OptClientID:
		r.clientID, r.clientIDNamed = []byte(value), named
		return nil
	case code == dhcp4.OptFQDN:
		r.fqdn, r.hostName = value, strings.TrimSuffix(value, ".")
		r.options = append(r.options, grant.Option{Code: dhcp4.OptFQDN, Value: dhcp4.FQDN(value)})
		return nil
	case code == dhcp4.OptHostName && r.fqdn == "":
		r.hostName = value
	}
	r.options = append(r.options, grant.Option{Code: uint16(code), Value: []byte(value)})
	return nil
}

// parseArgs splits CNI_ARGS, "K=V;K=V". A part without '=' is ignored.
func parseArgs(s string) map[string]string {
	args := map[string]string{}
	for pair := range strings.SplitSeq(s, ";") {
		if k, v, ok := strings.Cut(pair, "="); ok && k != "" {
			args[k] = v
		}
	}
	return args
}

// defaultClientID is the identity of an attachment that was not given any: the one that
// CNI's own dhcp daemon uses, type 0 (RFC 2132, section 9.14) and
// "<container id>/<network>/<interface>", cut to fit an option.
func defaultClientID(id, network, ifname string) []byte {
	name := id + "/" + network + "/" + ifname
	return append([]byte{0}, name[:min(len(name), maxOptionLen-1)]...)
}
