// Command netavark-plugin is what netavark runs as the network driver net-porter:
// the same code as `net-porter plugin`, in a small binary that starts fast.
package main

import (
	"os"

	"github.com/net-porter/net-porter/internal/plugin"
)

func main() {
	os.Exit(plugin.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
