package dhcp

import (
	"fmt"
	"strconv"
)

// Option is a DHCP option as it stands in a message (RFC 2132, section 2).
type Option struct {
	Code  uint8  `json:"code"`
	Value []byte `json:"value"`
}

// Options that this package reads or writes (RFC 2132, 3397, 3442).
const (
	optSubnetMask      = 1
	optRouters         = 3
	optDNS             = 6
	optHostName        = 12
	optDomainName      = 15
	optMTU             = 26
	optStaticRoutes    = 33
	optNTP             = 42
	optRequestedIP     = 50
	optLeaseTime       = 51
	optOverload        = 52
	optMessageType     = 53
	optServerID        = 54
	optParameterList   = 55
	optMessage         = 56
	optMaxMessageSize  = 57
	optT1              = 58
	optT2              = 59
	optClientID        = 61
	optRelayAgent      = 82
	optDomainSearch    = 119
	optClasslessRoutes = 121
	optPad             = 0
	optEnd             = 255
)

// optionCode resolves an option's number, or its name in dhcp-options(5).
func optionCode(name string) (uint8, error) {
	if code, ok := optionNames()[name]; ok {
		return code, nil
	}
	code, err := strconv.ParseUint(name, 10, 8)
	if err != nil || code == optPad || code == optEnd {
		return 0, fmt.Errorf("option %.64q: %w: want a number from 1 to 254 or a name of dhcp-options(5), such as \"routers\"", name, ErrInvalid)
	}
	return uint8(code), nil
}

// reservedOption tells whether an option belongs to the protocol, so that a
// configuration which set it would break the exchange.
func reservedOption(code uint8) bool {
	switch code {
	case optRequestedIP, optOverload, optMessageType, optServerID, optParameterList, optMaxMessageSize, optRelayAgent:
		return true
	}
	return false
}

// optionNames are the names of dhcp-options(5), and the two spellings that servers'
// and clients' documentation use for options 119 and 121.
func optionNames() map[string]uint8 {
	return map[string]uint8{
		"subnet-mask":                            optSubnetMask,
		"time-offset":                            2,
		"routers":                                optRouters,
		"time-servers":                           4,
		"ien116-name-servers":                    5,
		"domain-name-servers":                    optDNS,
		"log-servers":                            7,
		"cookie-servers":                         8,
		"lpr-servers":                            9,
		"impress-servers":                        10,
		"resource-location-servers":              11,
		"host-name":                              optHostName,
		"boot-size":                              13,
		"merit-dump":                             14,
		"domain-name":                            optDomainName,
		"swap-server":                            16,
		"root-path":                              17,
		"extensions-path":                        18,
		"ip-forwarding":                          19,
		"non-local-source-routing":               20,
		"policy-filter":                          21,
		"max-dgram-reassembly":                   22,
		"default-ip-ttl":                         23,
		"path-mtu-aging-timeout":                 24,
		"path-mtu-plateau-table":                 25,
		"interface-mtu":                          optMTU,
		"all-subnets-local":                      27,
		"broadcast-address":                      28,
		"perform-mask-discovery":                 29,
		"mask-supplier":                          30,
		"router-discovery":                       31,
		"router-solicitation-address":            32,
		"static-routes":                          optStaticRoutes,
		"trailer-encapsulation":                  34,
		"arp-cache-timeout":                      35,
		"ieee802-3-encapsulation":                36,
		"default-tcp-ttl":                        37,
		"tcp-keepalive-interval":                 38,
		"tcp-keepalive-garbage":                  39,
		"nis-domain":                             40,
		"nis-servers":                            41,
		"ntp-servers":                            optNTP,
		"vendor-encapsulated-options":            43,
		"netbios-name-servers":                   44,
		"netbios-dd-server":                      45,
		"netbios-node-type":                      46,
		"netbios-scope":                          47,
		"font-servers":                           48,
		"x-display-manager":                      49,
		"dhcp-requested-address":                 optRequestedIP,
		"dhcp-lease-time":                        optLeaseTime,
		"dhcp-option-overload":                   optOverload,
		"dhcp-message-type":                      optMessageType,
		"dhcp-server-identifier":                 optServerID,
		"dhcp-parameter-request-list":            optParameterList,
		"dhcp-message":                           optMessage,
		"dhcp-max-message-size":                  optMaxMessageSize,
		"dhcp-renewal-time":                      optT1,
		"dhcp-rebinding-time":                    optT2,
		"vendor-class-identifier":                60,
		"dhcp-client-identifier":                 optClientID,
		"nwip-domain":                            62,
		"nisplus-domain":                         64,
		"nisplus-servers":                        65,
		"tftp-server-name":                       66,
		"bootfile-name":                          67,
		"mobile-ip-home-agent":                   68,
		"smtp-server":                            69,
		"pop-server":                             70,
		"nntp-server":                            71,
		"www-server":                             72,
		"finger-server":                          73,
		"irc-server":                             74,
		"streettalk-server":                      75,
		"streettalk-directory-assistance-server": 76,
		"user-class":                             77,
		"slp-directory-agent":                    78,
		"slp-service-scope":                      79,
		"nds-servers":                            85,
		"nds-tree-name":                          86,
		"nds-context":                            87,
		"uap-servers":                            98,
		"pcode":                                  100,
		"tcode":                                  101,
		"netinfo-server-address":                 112,
		"netinfo-server-tag":                     113,
		"default-url":                            114,
		"subnet-selection":                       118,
		"domain-search":                          optDomainSearch,
		"classless-static-routes":                optClasslessRoutes,
		"rfc3442-classless-static-routes":        optClasslessRoutes,
		"vivco":                                  124,
		"vivso":                                  125,
	}
}
