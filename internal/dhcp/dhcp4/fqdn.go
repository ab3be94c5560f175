package dhcp4

import "strings"

// FQDN is the value of option 81 for a host name (RFC 4702, section 2): in canonical
// wire format (flag E), with the wish that the server keeps the A record (flag S). A
// name without any dot is partial: the server completes it (section 2.3.1).
func FQDN(name string) []byte {
	const flagS, flagE = 1, 4
	value := []byte{flagS | flagE, 0, 0} // RCODE1 and RCODE2 are a server's
	trimmed := strings.TrimSuffix(name, ".")
	for label := range strings.SplitSeq(trimmed, ".") {
		value = append(append(value, byte(len(label))), label...)
	}
	if strings.Contains(name, ".") {
		value = append(value, 0)
	}
	return value
}
