package dhcp

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// maxOptionLen is the most that one DHCP option carries (RFC 2132, section 2).
const maxOptionLen = 255

// netConf is the configuration that the IPAM plugin gets on stdin and hands on:
// the calling plugin's whole one. The keys are those of CNI's dhcp plugin.
type netConf struct {
	types.NetConf
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
		Priority int `json:"priority"`
	} `json:"ipam"`
}

// request is what a client says of itself and asks for in every message of a lease.
type request struct {
	network  string
	clientID []byte
	hostName string
	options  []Option
	codes    []uint8 // option 55, in order
	priority int     // metric of the routes
}

// wants tells whether an option that a server sent is applied.
func (r *request) wants(code uint8) bool {
	for _, c := range r.codes {
		if c == code {
			return true
		}
	}
	return false
}

// alwaysAsked is recorded for resolv.conf whatever the configuration says.
func alwaysAsked() []uint8 { return []uint8{optDNS, optDomainName, optDomainSearch} }

// askedByDefault has classless static routes before routers, as RFC 3442 demands.
func askedByDefault() []uint8 {
	return []uint8{optSubnetMask, optClasslessRoutes, optRouters, optStaticRoutes, optMTU, optNTP}
}

// parseRequest reads the configuration and CNI_ARGS of a call. Its errors wrap
// ErrInvalid and name the key to be corrected.
func parseRequest(id, ifname, cniArgs string, stdin []byte) (*request, error) {
	var conf netConf
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return nil, fmt.Errorf("network configuration: %w: %w", ErrInvalid, err)
	}
	if conf.IPAM == nil {
		return nil, fmt.Errorf("network configuration: %w: no \"ipam\"", ErrInvalid)
	}
	r := &request{network: conf.Name, priority: conf.IPAM.Priority}
	if err := r.provide(&conf, parseArgs(cniArgs)); err != nil {
		return nil, err
	}
	if r.clientID == nil {
		r.clientID = defaultClientID(id, conf.Name, ifname)
	}
	return r, r.ask(&conf)
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
		code, err := optionCode(e.Option)
		if err != nil {
			return fmt.Errorf("ipam.request: %w", err)
		}
		codes = append(codes, code)
	}
	for _, code := range append(codes, alwaysAsked()...) {
		if !r.wants(code) {
			r.codes = append(r.codes, code)
		}
	}
	return nil
}

func (r *request) provide(conf *netConf, args map[string]string) error {
	for _, e := range conf.IPAM.Provide {
		code, err := optionCode(e.Option)
		if err != nil {
			return fmt.Errorf("ipam.provide: %w", err)
		}
		if reservedOption(code) {
			return fmt.Errorf("ipam.provide: option %q: %w: the DHCP client sets it itself", e.Option, ErrInvalid)
		}
		value := e.Value
		fromArg, given := args[e.FromArg]
		if given && fromArg != "" {
			value = fromArg
		}
		if code == optHostName {
			if given && fromArg != "" {
				// A container's name may have characters that a host name has not, and
				// its owner cannot change the resource: send what is left.
				value = hostNameFrom(value)
			} else if value != "" && !validDomain(value) {
				return fmt.Errorf("ipam.provide: host name %.64q: %w: want labels of letters, digits and '-', joined by '.'", value, ErrInvalid)
			}
			r.hostName = value
		}
		if value == "" {
			continue
		}
		if len(value) > maxOptionLen {
			return fmt.Errorf("ipam.provide: option %q: %w: a value has at most %d bytes, this one %d", e.Option, ErrInvalid, maxOptionLen, len(value))
		}
		if code == optClientID {
			if len(value) < 2 {
				return fmt.Errorf("ipam.provide: option %q: %w: a client id has at least 2 bytes (RFC 2132, section 9.14)", e.Option, ErrInvalid)
			}
			r.clientID = []byte(value)
			continue
		}
		r.options = append(r.options, Option{Code: code, Value: []byte(value)})
	}
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

// defaultClientID is the identity that CNI's own dhcp daemon uses, so that a server
// knows a container again whichever of the two asks: type 0 (RFC 2132, section 9.14)
// and "<container id>/<network>/<interface>", cut to fit an option.
func defaultClientID(id, network, ifname string) []byte {
	name := id + "/" + network + "/" + ifname
	return append([]byte{0}, name[:min(len(name), maxOptionLen-1)]...)
}
