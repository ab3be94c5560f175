package hostlink

import (
	"os"
	"path/filepath"
)

// sysNet is where the kernel describes its links: sysfs(5). It shows those of the network
// namespace that it was mounted in.
const sysNet = "/sys/class/net"

// Wireless says whether the link of a name is a wireless one (IEEE 802.11).
func Wireless(name string) bool { return wirelessIn(sysNet, name) }

func wirelessIn(dir, name string) bool {
	for _, mark := range []string{"wireless", "phy80211"} {
		if _, err := os.Lstat(filepath.Join(dir, name, mark)); err == nil {
			return true
		}
	}
	return false
}
