package dhcp

import "strings"

const (
	maxDomainLen = 253 // RFC 1035, section 2.3.4, less the length bytes at both ends
	maxLabelLen  = 63
)

// validDomain tells whether name is a host or domain name: labels of letters,
// digits, '-' and '_', joined by '.' (RFC 1123, section 2.1; the underscore is not a
// host's but common in local domains). Nothing that passes can end a line or a field
// of resolv.conf.
func validDomain(name string) bool {
	if name == "" || len(name) > maxDomainLen {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabelLen || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !nameByte(label[i]) {
				return false
			}
		}
	}
	return true
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// hostNameFrom makes a host name of a container's name: what no host name can have
// becomes '-', labels are trimmed and cut. Empty when nothing is left.
func hostNameFrom(name string) string {
	mapped := strings.Map(func(r rune) rune {
		if r == '.' || r < 0x80 && nameByte(byte(r)) {
			return r
		}
		return '-'
	}, name)
	var labels []string
	for label := range strings.SplitSeq(mapped, ".") {
		label = strings.Trim(label, "-")
		label = strings.TrimRight(label[:min(len(label), maxLabelLen)], "-")
		if label != "" {
			labels = append(labels, label)
		}
	}
	host := strings.Join(labels, ".")
	if len(host) > maxDomainLen {
		host = strings.TrimRight(host[:maxDomainLen], "-.")
	}
	return host
}
