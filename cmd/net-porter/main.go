// Command net-porter gives rootless containers interfaces on the LAN: it is the
// daemon, netavark's plugin, and the tools to look at both.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		os.Exit(fail(err))
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "net-porter",
		Short:         "LAN interfaces for rootless containers",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		serverCommand(), pluginCommand(), checkCommand(), doctorCommand(), versionCommand(),
		networksCommand(), attachmentsCommand(), attachCommand(), detachCommand(), gcCommand(), enforceCommand(), completionCommand(),
	)
	return root
}

// configFlag adds -c to a command that reads the daemon's configuration.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", config.DefaultPath, "configuration `FILE`")
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "net-porter %s (%s)\n", version.String(), version.Commit())
			return err
		},
	}
}
