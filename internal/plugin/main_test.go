package plugin

import (
	"os"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// pluginEnv makes the test binary be the plugin, or with the value isPodman a stand-in
// for podman that starts it.
const pluginEnv = "NET_PORTER_TEST_IS_PLUGIN"

const isPodman = "podman"

func TestMain(m *testing.M) {
	switch os.Getenv(pluginEnv) {
	case "":
		testlab.Main(m)
	case isPodman:
		os.Exit(podmanMain(os.Args[1:]))
	default:
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
}
