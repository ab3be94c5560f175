package dhcp4

import (
	"fmt"
	"strconv"
	"strings"
)

// Options that this package reads or writes (RFC 2132, 3397, 3442).
const (
	OptSubnetMask      = 1
	OptRouters         = 3
	OptDNS             = 6
	OptHostName        = 12
	OptDomainName      = 15
	OptMTU             = 26
	OptStaticRoutes    = 33
	OptNTP             = 42
	OptRequestedIP     = 50
	OptLeaseTime       = 51
	OptOverload        = 52
	OptMessageType     = 53
	OptServerID        = 54
	OptParameterList   = 55
	OptMessage         = 56
	OptMaxMessageSize  = 57
	OptT1              = 58
	OptT2              = 59
	OptClientID        = 61
	OptFQDN            = 81
	OptRelayAgent      = 82
	OptDomainSearch    = 119
	OptClasslessRoutes = 121
	OptPad             = 0
	OptEnd             = 255
)

// OptionCode resolves an option's number, or its name in dhcp-options(5).
func OptionCode(name string) (uint8, error) {
	if code, ok := optionNames()[name]; ok {
		return code, nil
	}
	code, err := strconv.ParseUint(name, 10, 8)
	if meant := nearest(name); meant != "" {
		return 0, fmt.Errorf("there is no option %.64q; did you mean %q?", name, meant)
	}
	if err != nil || code == OptPad || code == OptEnd {
		return 0, fmt.Errorf("option %.64q: want a number from 1 to 254 or a name of dhcp-options(5), such as \"routers\"", name)
	}
	return uint8(code), nil
}

// nearest finds the name that was meant by one without its hyphens, with underscores, or
// without the last letter.
func nearest(name string) string {
	letters := strings.NewReplacer("-", "", "_", "")
	for known := range optionNames() {
		if bare := letters.Replace(strings.ToLower(name)); bare != "" && (bare == letters.Replace(known) || bare+"s" == letters.Replace(known)) {
			return known
		}
	}
	return ""
}

// IsReserved tells whether an option belongs to the protocol, so that a
// configuration which set it would break the exchange.
func IsReserved(code uint8) bool {
	switch code {
	case OptRequestedIP, OptOverload, OptMessageType, OptServerID, OptParameterList, OptMaxMessageSize, OptRelayAgent:
		return true
	}
	return false
}

// optionNames are the names of dhcp-options(5), and the two spellings that servers'
// and clients' documentation use for options 119 and 121.
func optionNames() map[string]uint8 {
	return map[string]uint8{
		"subnet-mask":                            OptSubnetMask,
		"time-offset":                            2,
		"routers":                                OptRouters,
		"time-servers":                           4,
		"ien116-name-servers":                    5,
		"domain-name-servers":                    OptDNS,
		"log-servers":                            7,
		"cookie-servers":                         8,
		"lpr-servers":                            9,
		"impress-servers":                        10,
		"resource-location-servers":              11,
		"host-name":                              OptHostName,
		"boot-size":                              13,
		"merit-dump":                             14,
		"domain-name":                            OptDomainName,
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
		"interface-mtu":                          OptMTU,
		"all-subnets-local":                      27,
		"broadcast-address":                      28,
		"perform-mask-discovery":                 29,
		"mask-supplier":                          30,
		"router-discovery":                       31,
		"router-solicitation-address":            32,
		"static-routes":                          OptStaticRoutes,
		"trailer-encapsulation":                  34,
		"arp-cache-timeout":                      35,
		"ieee802-3-encapsulation":                36,
		"default-tcp-ttl":                        37,
		"tcp-keepalive-interval":                 38,
		"tcp-keepalive-garbage":                  39,
		"nis-domain":                             40,
		"nis-servers":                            41,
		"ntp-servers":                            OptNTP,
		"vendor-encapsulated-options":            43,
		"netbios-name-servers":                   44,
		"netbios-dd-server":                      45,
		"netbios-node-type":                      46,
		"netbios-scope":                          47,
		"font-servers":                           48,
		"x-display-manager":                      49,
		"dhcp-requested-address":                 OptRequestedIP,
		"dhcp-lease-time":                        OptLeaseTime,
		"dhcp-option-overload":                   OptOverload,
		"dhcp-message-type":                      OptMessageType,
		"dhcp-server-identifier":                 OptServerID,
		"dhcp-parameter-request-list":            OptParameterList,
		"dhcp-message":                           OptMessage,
		"dhcp-max-message-size":                  OptMaxMessageSize,
		"dhcp-renewal-time":                      OptT1,
		"dhcp-rebinding-time":                    OptT2,
		"vendor-class-identifier":                60,
		"dhcp-client-identifier":                 OptClientID,
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
		"client-fqdn":                            OptFQDN,
		"fqdn":                                   OptFQDN,
		"uap-servers":                            98,
		"pcode":                                  100,
		"tcode":                                  101,
		"netinfo-server-address":                 112,
		"netinfo-server-tag":                     113,
		"default-url":                            114,
		"subnet-selection":                       118,
		"domain-search":                          OptDomainSearch,
		"classless-static-routes":                OptClasslessRoutes,
		"rfc3442-classless-static-routes":        OptClasslessRoutes,
		"vivco":                                  124,
		"vivso":                                  125,
	}
}
