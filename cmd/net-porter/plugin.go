package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/plugin"
)

// pluginCommand is what netavark calls where the slim binary is not installed: a
// link named net-porter in netavark's plugin folder cannot pass a subcommand, so a
// one-line script with `exec net-porter plugin "$@"` stands there.
func pluginCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "plugin create|setup NETNS|teardown NETNS|info",
		Short:              "Answer netavark, as its plugin",
		DisableFlagParsing: true,
		Run: func(_ *cobra.Command, args []string) {
			os.Exit(plugin.Main(args, os.Stdin, os.Stdout, os.Stderr))
		},
	}
}
