package grant

import "strings"

// Lengths of domain names in bytes.
const (
	MaxDomainLen = 253 // RFC 1035, section 2.3.4, less the length bytes at both ends
	MaxLabelLen  = 63
)

// ValidDomain tells whether name is a host or domain name: labels of letters,
// digits, '-' and '_', joined by '.' (RFC 1123, section 2.1; the underscore is not a
// host's but common in local domains). Nothing that passes can end a line or a field
// of resolv.conf.
func ValidDomain(name string) bool {
	if name == "" || len(name) > MaxDomainLen {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > MaxLabelLen || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !NameByte(label[i]) {
				return false
			}
		}
	}
	return true
}

// NameByte tells whether a label may hold c.
func NameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
