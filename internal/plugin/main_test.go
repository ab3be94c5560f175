package plugin

import (
	"os"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// pluginEnv makes the test binary be the plugin.
const pluginEnv = "NET_PORTER_TEST_IS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(pluginEnv) != "" {
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	testlab.Main(m)
}
