//go:build !faultpoints

package faultpoint

// Hit is a moment at which the daemon may be killed. It does nothing in this program.
func Hit(moment string, of ...string) {}
