package dhcp

import (
	"strings"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// hostNameFrom makes a host name of a container's name: what no host name can have
// becomes '-', labels are trimmed and cut. Empty when nothing is left.
func hostNameFrom(name string) string {
	mapped := strings.Map(func(r rune) rune {
		if r == '.' || r < 0x80 && grant.NameByte(byte(r)) {
			return r
		}
		return '-'
	}, name)
	var labels []string
	for label := range strings.SplitSeq(mapped, ".") {
		label = strings.Trim(label, "-")
		label = strings.TrimRight(label[:min(len(label), grant.MaxLabelLen)], "-")
		if label != "" {
			labels = append(labels, label)
		}
	}
	host := strings.Join(labels, ".")
	if len(host) > grant.MaxDomainLen {
		host = strings.TrimRight(host[:grant.MaxDomainLen], "-.")
	}
	return host
}
